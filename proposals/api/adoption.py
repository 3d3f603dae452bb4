"""Adopting a harness from traces over REST: the draft to read, and its acceptance."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.acting import Actor
from accounts.roles import Permission
from episodes.adopting import draft_from_traces
from harness.api.serializers import DiffLine
from harness.authentication import actor_of
from harness.models import Agent
from proposals.adoption import accept_adopted
from proposals.models import Proposal

__all__ = ["AdoptionView"]

_LAYERS = ("prompt", "tools", "workflow", "model")


class LayerChoices(serializers.Serializer[Any]):
    """The key of the option to take, layer by layer; `keep` leaves the layer as it is, nothing takes the first option."""

    prompt = serializers.CharField(required=False, allow_blank=True, max_length=64)
    tools = serializers.CharField(required=False, allow_blank=True, max_length=64)
    workflow = serializers.CharField(required=False, allow_blank=True, max_length=64)
    model = serializers.CharField(required=False, allow_blank=True, max_length=64)


class OptionDetail(serializers.Serializer[Any]):
    """One value a layer was seen with."""

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # the field of that name, not the option
    share = serializers.FloatField(allow_null=True, help_text="Of the runs that show the layer.")
    count = serializers.IntegerField(allow_null=True)
    value = serializers.JSONField(allow_null=True)


class ChoiceDetail(serializers.Serializer[Any]):
    layer = serializers.CharField()
    chosen = serializers.CharField(source="chosen.key")
    options = OptionDetail(many=True)


class AdoptionDetail(serializers.Serializer[Any]):
    """The document that traces show, against what is stable. Accept it by `digest` and `base`."""

    base = serializers.CharField(source="base_digest", help_text="Digest of the stable version; empty without one.")
    document = serializers.DictField()
    digest = serializers.CharField()
    lines = DiffLine(many=True)
    choices = ChoiceDetail(many=True)
    notes = serializers.ListField(child=serializers.CharField())
    num_traces = serializers.SerializerMethodField()
    num_spans = serializers.IntegerField()
    oldest_at = serializers.DateTimeField()
    newest_at = serializers.DateTimeField()

    def get_num_traces(self, draft: Any) -> int:
        return len(draft.trace_ids)


class AdoptionAccept(serializers.Serializer[Any]):
    """Which document was read, what was chosen for it, and why it is right."""

    choices = LayerChoices(required=False)
    digest = serializers.CharField(max_length=64)
    base = serializers.CharField(max_length=64, allow_blank=True)
    claim = serializers.ChoiceField(Proposal.Claim.choices, required=False, default="fixes")
    reason = serializers.CharField(max_length=4_000)


class AdoptionOutcome(serializers.Serializer[Any]):
    """The first version, or the drafts that were written."""

    version = serializers.UUIDField(source="version.pk", default=None)
    proposals = serializers.SerializerMethodField()

    def get_proposals(self, accepted: Any) -> list[str]:
        return [str(proposal.pk) for proposal in accepted.proposals]


class AdoptionView(APIView):
    """The harness an agent's traces show."""

    def _agent(self, actor: Actor, slug: str) -> Agent:
        agent: Agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug)
        require(actor, Permission.VIEW, agent.access_scope(), act=f"read the traces of {agent.slug!r}")
        return agent

    @extend_schema(
        parameters=[OpenApiParameter(layer, OpenApiTypes.STR, required=False) for layer in _LAYERS],
        responses=AdoptionDetail, operation_id="agents_adoption_read",
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        """Return the draft with its variants; the query names options by layer."""
        agent = self._agent(actor_of(request), slug)
        wanted = {layer: request.query_params[layer] for layer in _LAYERS if layer in request.query_params}
        return Response(AdoptionDetail(draft_from_traces(agent, wanted)).data)

    @extend_schema(request=AdoptionAccept, responses={201: AdoptionOutcome}, operation_id="agents_adoption_accept")
    def post(self, request: Request, slug: str) -> Response:
        """Make the draft the agent's first version; where it serves one, write a draft proposal for each changed layer."""
        actor = actor_of(request)
        agent = self._agent(actor, slug)
        body = AdoptionAccept(data=request.data)
        body.is_valid(raise_exception=True)
        given = {"choices": {}} | body.validated_data
        return Response(AdoptionOutcome(accept_adopted(agent, by=actor, **given)).data, status=status.HTTP_201_CREATED)
