"""Releases over REST: the same verbs as in the admin."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from harness.api.serializers import ReasonRequest
from harness.api.verbs import StatefulViewSet, with_verbs
from harness.authentication import actor_of
from harness.models import Agent
from proposals.models import Proposal
from releases.admission import lift_throttle
from releases.api.serializers import (
    ApproveRequest,
    ReleaseCreate,
    ReleaseDetail,
    ReleaseRow,
    TickDetail,
)
from releases.models import Release
from releases.planning import draft_release
from releases.rollout import revert_now

__all__ = ["ReleaseViewSet", "RevertView", "ThrottleView"]


@with_verbs
class ReleaseViewSet(mixins.CreateModelMixin, StatefulViewSet):
    """Rollouts."""

    model = Release

    def get_serializer_class(self) -> Any:
        return {"list": ReleaseRow, "create": ReleaseCreate}.get(self.action, ReleaseDetail)

    def get_queryset(self) -> Any:
        rows = super().get_queryset().select_related("agent", "version", "baseline")
        wanted = {name: self.request.query_params[name] for name in ("status",) if name in self.request.query_params}
        agent = self.request.query_params.get("agent")
        return rows.filter(**wanted, **({"agent__slug": agent} if agent else {}))

    @extend_schema(request=ReleaseCreate, responses={201: ReleaseDetail})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Plan the release of an approved proposal; the plan is the policy's unless given."""
        body = ReleaseCreate(data=request.data)
        body.is_valid(raise_exception=True)
        actor, data = actor_of(request), body.validated_data
        proposal = get_object_or_404(Proposal.objects.visible_to(actor), pk=data["proposal"])
        release = draft_release(
            proposal, by=actor, reason=data["reason"], overrides=data["plan"],
            is_hotfix=data["is_hotfix"], overlap_accepted=data["overlap_accepted"],
        )  # fmt: skip
        return Response(ReleaseDetail(release).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ApproveRequest, responses=ReleaseDetail)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str | None = None) -> Response:
        """Approve the plan by its digest."""
        body = ApproveRequest(data=request.data)
        body.is_valid(raise_exception=True)
        release = self.get_object()
        release.approve(by=actor_of(request), **body.validated_data)
        return Response(ReleaseDetail(release).data)

    @extend_schema(request=ReasonRequest, responses=ReleaseDetail)
    @action(detail=True, methods=["post"])
    def advance(self, request: Request, pk: str | None = None) -> Response:
        """Take the plan's next step by hand, under the same conditions as the machine."""
        body = ReasonRequest(data=request.data)
        body.is_valid(raise_exception=True)
        release = self.get_object()
        release.advance(by=actor_of(request), reason=body.validated_data["reason"])
        release.refresh_from_db()
        return Response(ReleaseDetail(release).data)

    @extend_schema(responses=TickDetail(many=True))
    @action(detail=True, methods=["get"])
    def ticks(self, request: Request, pk: str | None = None) -> Response:
        """Return what the guard read, newest first."""
        page = self.paginate_queryset(self.get_object().ticks.order_by("-id"))
        return self.get_paginated_response(TickDetail(page, many=True).data)


class RevertView(APIView):
    """`POST /agents/{agent}/revert`: the emergency brake; permission and reason, no approval."""

    @extend_schema(request=ReasonRequest, responses=ReleaseRow)
    def post(self, request: Request, slug: str) -> Response:
        body = ReasonRequest(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug)
        release = revert_now(agent, by=actor, reason=body.validated_data["reason"])
        return Response(ReleaseRow(release).data)


class ThrottleView(APIView):
    """`POST /agents/{agent}/lift-throttle`: a person has looked into gains that rose too fast."""

    @extend_schema(request=ReasonRequest, responses={204: None})
    def post(self, request: Request, slug: str) -> Response:
        body = ReasonRequest(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug)
        lift_throttle(agent, by=actor, reason=body.validated_data["reason"])
        return Response(status=status.HTTP_204_NO_CONTENT)
