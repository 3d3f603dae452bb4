"""What has come from an agent, over REST: what its page of connecting waits for."""

from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.roles import Permission
from episodes.arrivals import arrivals_of
from episodes.models import Episode
from harness.authentication import actor_of
from harness.models import Agent

__all__ = ["ArrivalsView"]


class ArrivedEpisode(serializers.ModelSerializer[Episode]):
    """An episode in a few words, and where its page is."""

    page = serializers.SerializerMethodField()

    class Meta:
        model = Episode
        fields = ("id", "external_id", "captured_at", "started_at", "page")

    def get_page(self, episode: Episode) -> str:
        return reverse("admin:episodes_episode_change", args=(episode.pk,))


class EpisodeLack(serializers.Serializer[Any]):
    """Something the newest episode does not say, and the line that mends it."""

    code = serializers.CharField()
    what = serializers.CharField()
    why = serializers.CharField()
    mend = serializers.CharField()


class UnfinishedTrace(serializers.Serializer[Any]):
    """A received trace that is no episode (yet), and why."""

    trace_id = serializers.CharField()
    state = serializers.CharField(help_text="waiting, overdue, refused or silent")
    sentence = serializers.CharField()
    num_parts = serializers.IntegerField()
    last_at = serializers.DateTimeField()


class ArrivalsDetail(serializers.Serializer[Any]):
    """What has come from an agent by now."""

    is_waiting = serializers.BooleanField(help_text="No episode has come yet.")
    number = serializers.IntegerField(help_text="Exact up to 1,000; beyond, as of the last account.")
    is_exact = serializers.BooleanField()
    first = ArrivedEpisode(allow_null=True)
    newest = ArrivedEpisode(allow_null=True)
    lacks = EpisodeLack(many=True, help_text="Of the newest episode.")
    traces = UnfinishedTrace(many=True, help_text="Among the newest 20.")


class ArrivalsView(APIView):
    """What has come from one agent, and what that lacks."""

    @extend_schema(responses=ArrivalsDetail, operation_id="agents_arrivals")
    def get(self, request: Request, slug: str) -> Response:
        """Return the agent's first and newest episode, what the newest does not say, and traces that are none yet."""
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug)
        require(actor, Permission.VIEW, agent.access_scope(), act=f"see what has come from {agent.slug!r}")
        return Response(ArrivalsDetail(arrivals_of(agent)).data)
