"""Agents, versions, policies, changes and keys over REST: the same acts as in the admin."""

from typing import Any, cast

from django.db import transaction
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.acting import acting
from accounts.exceptions import NotPermittedError
from accounts.models import Team, User
from harness.api.serializers import (
    AgentChange,
    AgentCreate,
    AgentDetail,
    BootstrapRequest,
    ChangeCreate,
    ChangeDetail,
    KeyDetail,
    KeyIssue,
    KeyOnce,
    ObjectiveDetail,
    PolicyDetail,
    ReasonRequest,
    VersionDetail,
    VersionDiff,
    VersionRow,
)
from harness.api.verbs import GovernedViewSet, StatefulViewSet, with_verbs
from harness.authentication import actor_of
from harness.documents import document_schema
from harness.lines import readable_diff, size
from harness.models import Agent, ApiKey, Change, HarnessVersion, ObjectiveVersion, PolicyVersion
from harness.patches import diff
from harness.registration import add_agent, describe_agent

__all__ = [
    "AgentViewSet", "ChangeViewSet", "DocumentSchemaView", "KeyViewSet", "ObjectiveViewSet", "PolicyViewSet", "VersionViewSet",
]  # fmt: skip


def _validated(shape: Any, request: Request) -> dict[str, Any]:
    body = shape(data=request.data)
    body.is_valid(raise_exception=True)
    return cast("dict[str, Any]", body.validated_data)


class AgentViewSet(mixins.CreateModelMixin, mixins.UpdateModelMixin, GovernedViewSet):
    """The things being improved."""

    model = Agent
    serializer_class = AgentDetail
    lookup_field = "slug"
    lookup_value_regex = r"[-\w]+"
    http_method_names = ("get", "head", "options", "post", "patch")

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("team", "owner", "stable", "policy", "objective")

    @extend_schema(request=AgentCreate, responses={201: AgentDetail})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Add an agent; with a document it serves it as version 1."""
        data, actor = _validated(AgentCreate, request), actor_of(request)
        document = data.pop("document", None)
        team = get_object_or_404(Team.objects.visible_to(actor), slug=data.pop("team"))
        with transaction.atomic():
            agent = add_agent(team=team, by=actor, **data)
            if document is not None:
                agent.bootstrap(document, by=actor, reason=data["reason"])
        return Response(AgentDetail(agent).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=AgentChange, responses=AgentDetail)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change what the agent is called, what it is for or where validation finds it."""
        data, agent = _validated(AgentChange, request), self.get_object()
        describe_agent(agent, by=actor_of(request), **data)
        return Response(AgentDetail(agent).data)

    @extend_schema(request=BootstrapRequest, responses={201: VersionDetail})
    @action(detail=True, methods=["post"])
    def bootstrap(self, request: Request, slug: str | None = None) -> Response:
        """Give the agent its first document; every later one comes through a release."""
        data, agent = _validated(BootstrapRequest, request), self.get_object()
        version = agent.bootstrap(data["document"], by=actor_of(request), reason=data["reason"])
        return Response(VersionDetail(version).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ReasonRequest, responses=AgentDetail)
    @action(detail=True, methods=["post"])
    def freeze(self, request: Request, slug: str | None = None) -> Response:
        """Stop every new release; rollback stays possible."""
        data, agent = _validated(ReasonRequest, request), self.get_object()
        agent.freeze(by=actor_of(request), reason=data["reason"])
        return Response(AgentDetail(agent).data)

    @extend_schema(request=ReasonRequest, responses=AgentDetail)
    @action(detail=True, methods=["post"])
    def unfreeze(self, request: Request, slug: str | None = None) -> Response:
        """Allow releases again."""
        data, agent = _validated(ReasonRequest, request), self.get_object()
        agent.unfreeze(by=actor_of(request), reason=data["reason"])
        return Response(AgentDetail(agent).data)

    @extend_schema(responses=VersionRow(many=True))
    @action(detail=True, methods=["get"])
    def versions(self, request: Request, slug: str | None = None) -> Response:
        """Return the agent's versions, newest first."""
        rows = (
            self.get_object()
            .versions.select_related("agent", "parent")
            .defer("body", "document", "parent__body", "parent__document")
        )
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(VersionRow(page, many=True).data)


class DocumentSchemaView(APIView):
    """The JSON Schema (Draft 2020-12) of the document."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        return Response(document_schema())


class _OfAgentViewSet(GovernedViewSet):
    """Rows of agents, newest first, of one agent with `?agent=`."""

    FILTERS = {"agent": "agent__slug"}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("agent")


class VersionViewSet(_OfAgentViewSet):
    """Immutable documents of agents."""

    model = HarnessVersion

    def get_serializer_class(self) -> Any:
        return VersionRow if self.action == "list" else VersionDetail

    def get_queryset(self) -> Any:
        rows = super().get_queryset().select_related("parent").defer("body")
        return rows.defer("body", "document") if self.action == "list" else rows

    @extend_schema(
        parameters=[OpenApiParameter("against", str, description="Id of the other version; the parent when left out.")],
        responses=VersionDiff,
    )
    @action(detail=True, methods=["get"])
    def diff(self, request: Request, pk: str | None = None) -> Response:
        """Return what this version says otherwise than another: as a patch and as lines."""
        target = self.get_object()
        against = request.query_params.get("against") or target.parent_id
        base = get_object_or_404(self.get_queryset().filter(agent_id=target.agent_id), pk=against) if against else None
        before = base.document if base else {}
        shown = {
            "base": base.digest if base else "",
            "target": target.digest,
            "size": size(before, target.document),
            "patch": [dict(operation) for operation in diff(before, target.document)],
            "lines": [{"kind": line.kind, "text": line.text} for line in readable_diff(before, target.document)],
        }
        return Response(VersionDiff(shown).data)


class PolicyViewSet(_OfAgentViewSet):
    """The limits the loop works under; changed by `/changes` only."""

    model = PolicyVersion
    serializer_class = PolicyDetail


class ObjectiveViewSet(_OfAgentViewSet):
    """What agents are optimized for; changed by `/changes` only."""

    model = ObjectiveVersion
    serializer_class = ObjectiveDetail


@with_verbs
class ChangeViewSet(mixins.CreateModelMixin, _OfAgentViewSet, StatefulViewSet):
    """Two-person edits of what proposals may not touch."""

    model = Change
    serializer_class = ChangeDetail

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("proposed_by", "decided_by")

    @extend_schema(request=ChangeCreate, responses={201: ChangeDetail})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Propose a change; a second person decides."""
        data, actor = _validated(ChangeCreate, request), actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=data.pop("agent"))
        with acting(actor, reason=data["rationale"]):
            change = Change.propose(agent=agent, by=actor, **data)
        return Response(ChangeDetail(change).data, status=status.HTTP_201_CREATED)


class KeyViewSet(mixins.CreateModelMixin, GovernedViewSet):
    """Keys of visible agents and one's own; secrets are shown once, when a key is made."""

    model = ApiKey
    serializer_class = KeyDetail

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("owner", "agent")

    @extend_schema(request=KeyIssue, responses={201: KeyOnce})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Issue a key. Only a person at the keyboard can: a key does not make keys."""
        data, actor = _validated(KeyIssue, request), actor_of(request)
        if actor.kind != "user" or not isinstance(request.user, User):
            raise NotPermittedError("A key cannot issue keys: sign in and issue it yourself.")
        slug = data.pop("agent", None)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug) if slug else None
        key, secret = ApiKey.issue(owner=request.user, by=actor, agent=agent, **data)
        key.secret = secret  # type: ignore[attr-defined]  # lives as long as this answer
        answer = Response(KeyOnce(key).data, status=status.HTTP_201_CREATED)
        answer["Cache-Control"] = "no-store"
        return answer

    @extend_schema(request=ReasonRequest, responses=KeyDetail)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str | None = None) -> Response:
        """End the key at once."""
        data, key = _validated(ReasonRequest, request), self.get_object()
        key.revoke(by=actor_of(request), reason=data["reason"])
        return Response(KeyDetail(key).data)
