"""What was captured and what became of it, over REST."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from episodes.api.permissions import MayRead
from episodes.completeness import reasons, tallies
from episodes.gaps import gaps
from episodes.models import CaptureTally
from harness.authentication import actor_of
from harness.models import Agent

__all__ = ["CompletenessView"]


class FailureReason(serializers.Serializer[Any]):
    """Why analysis failed, and of how many episodes."""

    reason = serializers.CharField(source="sentence")
    number = serializers.IntegerField()


class AgentAccount(serializers.Serializer[Any]):
    """captured = analyzed + pending + failed + missing, counted in one snapshot; alarms are of this moment."""

    agent = serializers.SlugField(source="agent.slug")
    counted_at = serializers.DateTimeField(allow_null=True)
    captured = serializers.IntegerField()
    analyzed = serializers.IntegerField()
    pending = serializers.IntegerField()
    failed = serializers.IntegerField()
    missing = serializers.IntegerField(help_text="They entered the record, but their rows are gone.")
    lag_p95_s = serializers.FloatField(
        allow_null=True, help_text="Of the newest 1,000, in seconds; what waits counts with its age so far."
    )
    reasons = FailureReason(many=True)
    alarms = serializers.ListField(child=serializers.CharField())


class CompletenessView(APIView):
    """Whether anything was lost, agent by agent."""

    permission_classes = [MayRead]

    @extend_schema(responses=AgentAccount(many=True), operation_id="completeness_list")
    def get(self, request: Request) -> Response:
        """Return the account of every visible agent's episodes, as it was last counted, and what alarms now."""
        actor = actor_of(request)
        accounts, why, found = tallies(actor), reasons(actor), gaps(actor)
        counted = {account.agent_id for account in accounts}
        # An agent may have a gap before anybody counted it: where the clock stands still, nobody does.
        unaccounted = Agent.objects.filter(pk__in={one.agent_id for one in found} - counted)
        accounts += [CaptureTally(agent=agent) for agent in unaccounted]
        for account in accounts:
            account.reasons = [one for one in why if one.agent_id == account.agent_id]  # type: ignore[attr-defined]  # for the serializer
            account.alarms = [one.sentence for one in found if one.agent_id == account.agent_id]  # type: ignore[attr-defined]  # as above
        return Response(AgentAccount(accounts, many=True).data)
