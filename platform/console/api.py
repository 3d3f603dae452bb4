"""What the console composes of several stages, over REST."""

from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.roles import Permission
from console.attempts import report_of
from harness.authentication import actor_of
from harness.models import Agent

__all__ = ["urlpatterns"]


class Measured(serializers.Serializer[Any]):
    """A share or a mean with its two-sided 95 % interval; the bounds are null where one run tells of none."""

    value = serializers.FloatField()
    lower = serializers.FloatField(allow_null=True)
    upper = serializers.FloatField(allow_null=True)


class AttemptReport(serializers.Serializer[Any]):
    """What the agent can do at the first attempt, and what its loop within a task makes of it."""

    number = serializers.IntegerField(help_text="Newest runs that a check judged, at most 500 of the last 2,000.")
    first_pass = Measured(allow_null=True, help_text="Share that passed at the first attempt.")
    final = Measured(allow_null=True, help_text="Share that passed in the end.")
    attempts = Measured(allow_null=True, help_text="Mean number of attempts.")


class AttemptsView(APIView):
    """First-pass against final success of an agent's newest runs."""

    @extend_schema(responses=AttemptReport, operation_id="agent_attempts")
    def get(self, request: Request, slug: str) -> Response:
        """Return first-pass and final success with 95 % intervals; without runs that made attempts, null."""
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug)
        require(actor, Permission.VIEW, agent.access_scope(), act="read how attempts went")
        return Response(AttemptReport(report_of(agent)).data)


urlpatterns = [path("agents/<slug:slug>/attempts", AttemptsView.as_view(), name="agent-attempts")]
