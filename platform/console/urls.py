"""Pages of the console; they stand under /admin/ beside the model pages."""

from django.contrib import admin
from django.urls import path

from console.adopting import adopt_from_traces
from console.connecting import connect
from console.health import health_page
from console.login import login
from console.views import agent_act, ask_for_proposal, restore_version

__all__ = ["urlpatterns"]

app_name = "console"

urlpatterns = [
    path("login/", login, name="login"),
    path("console/health", admin.site.admin_view(health_page), name="health"),
    path("console/versions/<uuid:pk>/restore", admin.site.admin_view(restore_version), name="restore-version"),
    path("console/patterns/<uuid:pk>/ask", admin.site.admin_view(ask_for_proposal), name="ask-for-proposal"),
    path("console/agents/<uuid:pk>/connect", admin.site.admin_view(connect), name="connect"),
    path("console/agents/<uuid:pk>/adopt", admin.site.admin_view(adopt_from_traces), name="adopt"),
    path("console/agents/<uuid:pk>/<slug:verb>", admin.site.admin_view(agent_act), name="agent-act"),
]
