"""Proposals over REST: the same verbs as in the admin."""

from collections.abc import Callable
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.acting import acting
from accounts.roles import Permission
from episodes.models import Episode, Pattern
from harness.api.verbs import GovernedViewSet, StatefulViewSet, VerbRequest, with_verbs
from harness.authentication import actor_of
from harness.models import Agent
from proposals.api.serializers import (
    AmendRequest,
    DraftOutcome,
    ProposalCreate,
    ProposalDetail,
    ProposalRow,
    StrategyDetail,
)
from proposals.drafters import draft_for_pattern
from proposals.drafting import Quote, Sketch, draft, edit_of_layer
from proposals.exceptions import BaseMovedError
from proposals.models import Proposal, Strategy

__all__ = ["PatternDraftView", "ProposalViewSet", "StrategyViewSet"]


@with_verbs
class ProposalViewSet(mixins.CreateModelMixin, StatefulViewSet):
    """Small reviewable changes."""

    model = Proposal

    def get_serializer_class(self) -> Any:
        return {"list": ProposalRow, "create": ProposalCreate}.get(self.action, ProposalDetail)

    def get_queryset(self) -> Any:
        rows = super().get_queryset().select_related("agent", "strategy")
        wanted = {
            name: self.request.query_params[name] for name in ("status", "layer") if name in self.request.query_params
        }
        agent = self.request.query_params.get("agent")
        return rows.filter(**wanted, **({"agent__slug": agent} if agent else {}))

    @extend_schema(request=ProposalCreate, responses={201: ProposalDetail})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Write a proposal; the platform computes the patch when a layer's new value is given."""
        body = ProposalCreate(data=request.data)
        body.is_valid(raise_exception=True)
        proposal = self._draft(request, body.validated_data)
        return Response(ProposalDetail(proposal).data, status=status.HTTP_201_CREATED)

    def _draft(self, request: Request, data: dict[str, Any]) -> Proposal:
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=data["agent"])
        if agent.stable is None:
            raise BaseMovedError(f"Agent {agent.slug!r} has no stable version yet: bootstrap it first.")
        episodes = Episode.objects.visible_to(actor).filter(agent=agent)
        sketch = Sketch(
            title=data["title"], claim=data["claim"], rationale=data["rationale"],
            patch=data["patch"] if "patch" in data else edit_of_layer(agent.stable, data["layer"], data["value"]),
            evidence=[Quote(get_object_or_404(episodes, pk=q["episode"]), q["quote"]) for q in data["evidence"]],
            target_intents=data["target_intents"], predicted_effect=data["predicted_effect"],
        )  # fmt: skip
        earlier = Proposal.objects.visible_to(actor).filter(agent=agent)
        patterns = Pattern.objects.visible_to(actor).filter(agent=agent)
        return draft(
            agent, sketch, by=actor,
            pattern=get_object_or_404(patterns, pk=data["pattern"]) if "pattern" in data else None,
            retry_of=get_object_or_404(earlier, pk=data["retry_of"]) if "retry_of" in data else None,
        )  # fmt: skip

    @extend_schema(request=AmendRequest, responses=ProposalDetail)
    @action(detail=True, methods=["post"])
    def amend(self, request: Request, pk: str | None = None) -> Response:
        """Change a draft; whoever amends counts as an author from then on."""
        body = AmendRequest(data=request.data)
        body.is_valid(raise_exception=True)
        changes = dict(body.validated_data)
        reason, actor = changes.pop("reason"), actor_of(request)
        proposal = self.get_object()
        proposal.amend(by=actor, reason=reason, **changes)
        return Response(ProposalDetail(proposal).data)


class StrategyViewSet(GovernedViewSet):
    """Ways of writing proposals."""

    model = Strategy
    serializer_class = StrategyDetail
    lookup_field = "slug"

    @extend_schema(request=VerbRequest, responses=StrategyDetail)
    @action(detail=True, methods=["post"])
    def enable(self, request: Request, slug: str | None = None) -> Response:
        """Let it draft again."""
        return self._switched(request, Strategy.enable)

    @extend_schema(request=VerbRequest, responses=StrategyDetail)
    @action(detail=True, methods=["post"])
    def disable(self, request: Request, slug: str | None = None) -> Response:
        """Stop it from drafting."""
        return self._switched(request, Strategy.disable)

    def _switched(self, request: Request, switch: Callable[..., None]) -> Response:
        body = VerbRequest(data=request.data)
        body.is_valid(raise_exception=True)
        row = self.get_object()
        switch(row, by=actor_of(request), reason=body.validated_data["reason"])
        return Response(StrategyDetail(row).data)


class PatternDraftView(APIView):
    """Ask the strategies for a proposal on one pattern now."""

    @extend_schema(request=None, responses=DraftOutcome)
    def post(self, request: Request, pk: str) -> Response:
        actor = actor_of(request)
        pattern = get_object_or_404(Pattern.objects.visible_to(actor), pk=pk)
        require(actor, Permission.WRITE_PROPOSAL, pattern.access_scope(), act=f"ask for a proposal on {pattern}")
        with acting(actor, reason="asked for a draft"):
            written, declined = draft_for_pattern(pattern, by=actor)
        return Response(DraftOutcome({"proposals": written, "declined": declined}).data)
