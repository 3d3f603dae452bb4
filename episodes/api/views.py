"""Episodes and what is said of them over REST: views parse, authorize, call, render."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, cast
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from audit.spans import Span
from episodes.api.parsers import EpisodeJsonLinesParser, EpisodeLinesParser, EpisodesParser
from episodes.api.permissions import IsAgentWriting, MayRead, MayReport
from episodes.api.serializers import (
    CaptureReceipt,
    ConversationDetail,
    ConversationRow,
    CorrectionCreate,
    CorrectionDetail,
    CritiqueDetail,
    EpisodeCreate,
    EpisodeDetail,
    EpisodeRow,
    FlagCreate,
    FlagDetail,
    IntentCreate,
    IntentDetail,
    OutcomeCreate,
    OutcomeDetail,
    PatternDetail,
)
from episodes.capture import as_answer, capture
from episodes.exceptions import UnreadableBatchError
from episodes.finding import MAX_LISTED, carrying, matches
from episodes.intents import define
from episodes.judging import CorrectionText, correct, flag, report_outcome
from episodes.models import Conversation, Correction, Critique, Episode, Intent, Pattern
from episodes.pressure import admitted
from harness.api.verbs import GovernedViewSet, StatefulViewSet, with_verbs
from harness.authentication import RememberedKeyAuthentication, actor_of, reporting_agent
from harness.models import Agent

__all__ = [
    "ConversationViewSet",
    "CorrectionViewSet",
    "CritiqueViewSet",
    "EpisodeViewSet",
    "IntentViewSet",
    "PatternViewSet",
]


class AmbiguousIdError(DomainError):
    """Several visible agents know an episode by this id."""

    code = "ambiguous_id"


class _Filtered(GovernedViewSet):
    """Rows for whoever may read what agents lived through."""

    permission_classes = [MayRead]


def _parameters(filters: Iterable[str]) -> list[OpenApiParameter]:
    return [OpenApiParameter(name, OpenApiTypes.STR, required=False) for name in filters]


_EPISODE_FILTERS = {
    "agent": "agent__slug",
    "external_id": "external_id",
    "conversation": "conversation__external_id",
    "subject": "conversation__subject",
    "resolution": "conversation__resolution",
    "harness_digest": "harness_digest",
    "arm": "arm",
    "pattern": "critiques__membership__pattern",
}
# Both list the newest of what they find; `q` means all words, or a whole id.
_EPISODE_SEARCHES = {"ref": carrying, "q": matches}


class EpisodeViewSet(_Filtered):
    """What agents lived through. `{id}` is the platform's id, or the agent's own where only one visible agent has it."""

    model = Episode
    lookup_value_regex = "[^/]+"
    FILTERS = _EPISODE_FILTERS

    def get_permissions(self) -> list[BasePermission]:
        by_action: dict[str, type[BasePermission]] = {
            "create": IsAgentWriting, "outcomes": MayReport, "flags": MayReport,
        }  # fmt: skip
        return [by_action.get(self.action or "", MayRead)()]

    def get_authenticators(self) -> list[BaseAuthentication]:
        if self._captures():
            return [RememberedKeyAuthentication(), SessionAuthentication()]
        return super().get_authenticators()

    def _captures(self) -> bool:
        request = getattr(self, "request", None)
        is_collection = getattr(self, "action_map", {}).get("post") == "create"
        return is_collection and request is not None and request.method == "POST"

    def get_parsers(self) -> list[Any]:
        if getattr(self, "action_map", {}).get("post") == "create":
            return [EpisodesParser(), EpisodeLinesParser(), EpisodeJsonLinesParser()]
        return super().get_parsers()

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        return EpisodeRow if self.action == "list" else EpisodeDetail

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset().select_related("agent", "conversation").defer("conversation__embedding")
        if self.detail:
            return rows.prefetch_related("signals", "flags")
        given = self.request.query_params if getattr(self, "request", None) is not None else {}
        for name, search in _EPISODE_SEARCHES.items():
            if given.get(name):
                found = search(actor_of(self.request), given[name], Span())
                rows = rows.filter(pk__in=list(islice(found, MAX_LISTED)))
        return rows.defer(
            "conversation__embedding", "conversation__opening", "conversation__attributes", "output", "steps", "sources",
            "usage", "external_refs", "attributes",
        )  # fmt: skip

    def get_object(self) -> Episode:
        actor = actor_of(self.request)
        return _episode_of(actor, self.kwargs["pk"], agent=self.request.query_params.get("agent", ""))

    @extend_schema(parameters=_parameters([*_EPISODE_FILTERS, *_EPISODE_SEARCHES]))
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=EpisodeCreate(many=True),
        responses={202: CaptureReceipt},
        auth=[{"apiKey": []}],  # type: ignore[list-item]  # as the schema wants it, not as the hint says
    )
    def create(self, request: Request) -> Response:
        """Report episodes: one object, a list, or NDJSON, gzip welcome. What is answered as accepted is durable."""
        actor = actor_of(request)
        items = request.data
        if not isinstance(items, list):
            raise UnreadableBatchError("The body is empty. Send one episode, a list of them, or NDJSON.")
        with admitted(), acting(actor):
            receipt = capture(reporting_agent(request), items)
        return Response(as_answer(receipt), status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=OutcomeCreate, responses={201: OutcomeDetail, 200: OutcomeDetail})
    @action(detail=True, methods=["post"])
    def outcomes(self, request: Request, pk: str) -> Response:  # the router's signature
        """Say how the episode's conversation ended; late is welcome, and the same report again changes nothing."""
        body = OutcomeCreate(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_of(request)
        with acting(actor):
            outcome, is_new = report_outcome(self.get_object(), by=actor, **body.validated_data)
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(OutcomeDetail(outcome).data, status=code)

    @extend_schema(request=FlagCreate, responses={201: FlagDetail})
    @action(detail=True, methods=["post"])
    def flags(self, request: Request, pk: str) -> Response:  # the router's signature
        """Mark an episode."""
        body = FlagCreate(data=request.data)
        body.is_valid(raise_exception=True)
        mark = flag(self.get_object(), by=actor_of(request), **body.validated_data)
        return Response(FlagDetail(mark).data, status=status.HTTP_201_CREATED)


def _episode_of(actor: Actor, named: str, *, agent: str = "") -> Episode:
    """Return the visible episode with this id, the platform's or the agent's own; raise `Http404`, `AmbiguousIdError`."""
    rows = Episode.objects.visible_to(actor).select_related("agent", "conversation").defer("conversation__embedding")
    if agent:
        rows = rows.filter(agent__slug=agent)
    wanted = Q(external_id=named)
    found = list(rows.filter(wanted | Q(pk=UUID(named)) if _is_uuid(named) else wanted)[:3])
    exact = [row for row in found if str(row.pk) == named.lower()] or found
    if not exact:
        raise Http404
    if len(exact) > 1:
        raise AmbiguousIdError(f"Several agents have an episode {named!r}. Use the platform's id, or name the agent.")
    return cast("Episode", exact[0])


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


class ConversationViewSet(_Filtered):
    """Episodes of one user that belong together, and how they ended."""

    model = Conversation
    FILTERS = {
        "agent": "agent__slug",
        "external_id": "external_id",
        "subject": "subject",
        "resolution": "resolution",
        "split": "split",
        "intent": "intent__slug",
    }

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        return ConversationRow if self.action == "list" else ConversationDetail

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset().select_related("agent", "intent").defer("embedding", "intent__centroid")
        return rows.prefetch_related("episodes__agent", "outcomes") if self.detail else rows


class CorrectionViewSet(_Filtered):
    """What should have happened."""

    model = Correction
    serializer_class = CorrectionDetail
    FILTERS = {"agent": "agent__slug", "intent": "intent__slug"}

    def get_permissions(self) -> list[BasePermission]:
        return [MayReport() if self.action == "create" else MayRead()]

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().select_related("agent", "intent").prefetch_related("coverage")

    @extend_schema(request=CorrectionCreate, responses={201: CorrectionDetail})
    def create(self, request: Request) -> Response:
        """Correct one or many episodes of an agent at once."""
        body = CorrectionCreate(data=request.data)
        body.is_valid(raise_exception=True)
        data, actor = body.validated_data, actor_of(request)
        episodes = {name: _episode_of(actor, name, agent=data.get("agent", "")) for name in data["episodes"]}
        own = {
            episodes[name].pk: arguments
            for name, arguments in data["per_episode_arguments"].items()
            if name in episodes
        }
        if strange := data["per_episode_arguments"].keys() - episodes.keys():
            raise serializers.ValidationError(
                {"per_episode_arguments": f"{sorted(strange)} are not among the episodes."}
            )
        agent = next(iter(episodes.values())).agent
        text = CorrectionText(
            **{name: data[name] for name in ("title", "answer", "tool", "arguments", "should_escalate")},
            intent=_intent_of(actor, agent, data["intent"]),
        )
        correction = correct(list(episodes.values()), text, by=actor, per_episode_arguments=own)
        return Response(CorrectionDetail(correction).data, status=status.HTTP_201_CREATED)


def _intent_of(actor: Actor, agent: Agent, slug: str | None) -> Intent | None:
    rows = Intent.objects.visible_to(actor).filter(agent=agent)
    return cast("Intent", get_object_or_404(rows, slug=slug)) if slug else None


class CritiqueViewSet(_Filtered):
    """What went wrong, why, and in which layer."""

    model = Critique
    serializer_class = CritiqueDetail
    FILTERS = {
        "agent": "episode__agent__slug",
        "layer": "layer",
        "source": "source",
        "pattern": "membership__pattern",
    }


@with_verbs
class PatternViewSet(_Filtered, StatefulViewSet):
    """Failures that recur."""

    model = Pattern
    serializer_class = PatternDetail
    FILTERS = {"agent": "agent__slug", "layer": "layer", "status": "status", "intent": "intent__slug"}

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().select_related("agent", "intent").defer("intent__centroid")

    def get_permissions(self) -> list[BasePermission]:
        return [MayRead() if self.action in {"list", "retrieve"} else MayReport()]


class IntentViewSet(_Filtered):
    """What users want."""

    model = Intent
    serializer_class = IntentDetail
    FILTERS = {"agent": "agent__slug", "state": "state"}

    def get_permissions(self) -> list[BasePermission]:
        return [MayReport() if self.action == "create" else MayRead()]

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().select_related("agent", "parent").defer("centroid", "parent__centroid")

    @extend_schema(request=IntentCreate, responses={201: IntentDetail})
    def create(self, request: Request) -> Response:
        """Define a want by a sentence and at least three examples; it is live at once."""
        body = IntentCreate(data=request.data)
        body.is_valid(raise_exception=True)
        data, actor = dict(body.validated_data), actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=data.pop("agent"))
        parent = _intent_of(actor, agent, data.pop("parent"))
        intent = define(agent, by=actor, parent=parent, **data)
        return Response(IntentDetail(intent).data, status=status.HTTP_201_CREATED)
