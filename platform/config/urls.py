"""Every address of the platform."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from console.health import healthz, metrics, readyz
from episodes.views import open_by_name

__all__ = ["handler400", "handler404", "handler500", "urlpatterns"]

handler400 = "config.requests.bad_request"
handler404 = "config.requests.not_found"
handler500 = "config.requests.server_error"

urlpatterns = [
    path("admin/", include("console.urls")),
    path("admin/", admin.site.urls),
    path("", include("episodes.api.otlp")),
    path("e/<path:name>", admin.site.admin_view(open_by_name), name="episode-link"),
    path("api/v1/", include("episodes.api.urls")),
    path("api/v1/", include("proposals.api.urls")),
    path("api/v1/", include("evals.api.urls")),
    path("api/v1/", include("releases.api.urls")),
    path("api/v1/", include("lessons.api.urls")),
    path("api/v1/", include("console.api")),
    path("api/v1/", include("harness.api.urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]
