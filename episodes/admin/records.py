"""Conversations and episodes, readable as the talks they were, to flag and to correct."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import F, Func, QuerySet, TextField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from pydantic import BaseModel
from unfold.decorators import action, display

from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.desk import Act, VisibleRelatedFilter, folded, person, standing
from audit.facts import FactAdmin, choices, pill
from audit.forms import verb_form
from audit.spans import Span
from episodes.admin.marking import (
    CorrectionFields,
    FlagFields,
    OutcomeFields,
    correct_one,
    correct_together,
    flag_one,
    flag_together,
    report_ending,
)
from episodes.finding import conversations_called, matches
from episodes.models import Conversation, Episode, EpisodeAmendment, Flag, Outcome, Signal, Trace, TraceFragment
from episodes.models.judgments import Layer
from episodes.reanalysis import analyze_again
from episodes.turns import turns_of

__all__ = [
    "ConversationAdmin", "EpisodeAdmin", "EpisodeAmendmentAdmin", "OutcomeAdmin", "SignalAdmin", "TraceAdmin",
    "TraceFragmentAdmin",
]  # fmt: skip

_MAX_EPISODES = 60
_ENDS = [(value, label) for value, label in Conversation.Resolution.choices if value != Conversation.Resolution.OPEN]
_BODIES = ("input", "output", "steps", "sources", "usage", "external_refs", "attributes")
_ITS_BODIES = tuple(f"episode__{name}" for name in _BODIES)


def said_in(episode: Episode) -> list[dict[str, str]]:
    """Return what an episode's input and output say, turn by turn."""
    heard = episode.input.get("messages") if isinstance(episode.input, dict) else None
    turns = [{"role": turn.role, "text": turn.text} for turn in turns_of(heard)]
    if episode.output_text:
        turns.append({"role": "assistant", "text": episode.output_text})
    return turns


def thread_of(episodes: Sequence[Episode], here: Episode | None = None) -> list[dict[str, Any]]:
    """Return a conversation as one talk: each episode adds what its user said last and what was answered."""
    thread: list[dict[str, Any]] = []
    for number, episode in enumerate(episodes):
        turns = said_in(episode)
        heard = [turn for turn in turns[:-1] if episode.output_text] or turns
        fresh = heard if number == 0 else heard[-1:]
        answer = turns[-1:] if episode.output_text else []
        handed_off = isinstance(episode.output, dict) and bool(episode.output.get("handoff"))
        for turn in [*fresh, *answer] if answer else fresh:
            is_answer = turn["role"] == "assistant"
            thread.append(
                {**turn, "episode": episode, "is_here": episode == here, "handed_off": handed_off and is_answer}
            )
    return thread


@admin.register(Conversation)
class ConversationAdmin(FactAdmin):
    list_display = ("external_id", "resolution_label", "agent", "short_opening", "intent", "split", "last_at")
    list_filter = (("agent", VisibleRelatedFilter), "resolution", "split", ("intent", VisibleRelatedFilter))
    search_fields = ("=external_id",)
    search_help_text = "A whole id of a conversation or user; words are searched among episodes"
    list_select_related = ("agent", "intent")
    list_defer = ("attributes", "agent__purpose", "intent__centroid", "intent__definition", "intent__examples")
    fieldsets = folded(
        "agent", "external_id", "subject", "split", "near_duplicate_of", "attributes", "started_at", "last_at", "settled_at",
        "resolution", "resolution_source", "intent",
    )  # fmt: skip
    reading_template = "episodes/conversation.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("embedding")

    def found_ids(self, request: HttpRequest, text: str, span: Span) -> Iterator[UUID]:
        return conversations_called(person(request), text, span)

    def reading(self, request: HttpRequest, row: Conversation) -> dict[str, Any]:
        episodes = list(row.episodes.order_by("started_at", "id")[:_MAX_EPISODES])
        return {"thread": thread_of(episodes), "outcomes": row.outcomes.order_by("at"), "conversation": row}

    @display(description="Ended")
    def resolution_label(self, row: Conversation) -> str:
        return pill(row.resolution, row.get_resolution_display())

    @display(description="Opening")
    def short_opening(self, row: Conversation) -> str:
        return row.opening[:90]


class LastSaid(Func):
    """What the user said last in an episode's input, cut by the database: inputs may be megabytes."""

    template = (
        "left(jsonb_path_query_array(%(expressions)s, '$.messages[*] ? (@.role == \"user\").content') ->> -1, 90)"
    )
    output_field = TextField()


class FlaggedFilter(admin.SimpleListFilter):
    """Episodes that a person has marked."""

    title = "flagged"
    parameter_name = "flagged"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Episode]) -> QuerySet[Episode]:
        return queryset.filter(pk__in=Flag.objects.values("episode")) if self.value() == "yes" else queryset


class AnalysisFilter(admin.SimpleListFilter):
    """How far analysis came with an episode."""

    title = "analysis"
    parameter_name = "analysis"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("analyzed", "Analyzed"), ("pending", "Pending"), ("failed", "Failed")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "analyzed":
                return queryset.filter(understood_at__isnull=False)
            case "pending":
                return queryset.waiting()
            case "failed":
                return queryset.not_analyzed()
        return queryset


def _read_again(episode: Episode, *, by: Actor, reason: str) -> str:
    analyze_again([episode], by=by, reason=reason)
    return "It is analyzed again as soon as a worker is free."


@admin.register(Episode)
class EpisodeAdmin(FactAdmin):
    list_display = ("external_id", "resolution_label", "agent", "short_text", "intent", "arm", "started_at")
    list_filter = (
        ("agent", VisibleRelatedFilter), "conversation__resolution", "conversation__split", AnalysisFilter, FlaggedFilter,
        choices("arm", "arm", (("canary", "Canary"), ("control", "Control"))),
    )  # fmt: skip
    search_fields = ("=external_id",)
    search_help_text = "Words that were said, or a whole id: episode, conversation, user, version, ticket, order"
    list_select_related = ("agent", "conversation__intent")
    list_defer = (
        *_BODIES, "body_digest", "analysis_error", "agent__purpose", "conversation__embedding", "conversation__opening", "conversation__attributes",
        "conversation__intent__centroid", "conversation__intent__definition", "conversation__intent__examples",
    )  # fmt: skip
    fieldsets = folded(
        "agent", "conversation", "external_id", "workflow", "sources", "usage", "external_refs", "attributes",
        "harness_digest", "release_ref", "arm", "weight", "started_at", "ended_at", "captured_at", "understood_at",
        "analysis_failed_at", "analysis_error",
    )  # fmt: skip
    reading_template = "episodes/episode.html"
    actions = ("flag_selected", "correct_selected")
    acts = (
        Act("flag", "Flag", Permission.FLAG_EPISODE, flag_one, needs_reason=False, form=FlagFields),
        Act("correct", "Correct", Permission.CORRECT_EPISODE, correct_one, needs_reason=False, form=CorrectionFields),
        Act(
            "report_ending",
            "Say how it ended",
            Permission.FLAG_EPISODE,
            report_ending,
            needs_reason=False,
            form=OutcomeFields,
        ),
        Act(
            "analyze_again", "Analyze again", Permission.FLAG_EPISODE, _read_again,
            offered=lambda row: row.analysis_failed_at is not None,
        ),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(last_said=LastSaid(F("input")))
        return rows

    def found_ids(self, request: HttpRequest, text: str, span: Span) -> Iterator[UUID]:
        return matches(person(request), text, span)

    def reading(self, request: HttpRequest, row: Episode) -> dict[str, Any]:
        siblings = list(row.conversation.episodes.order_by("started_at", "id")[:_MAX_EPISODES])
        return {
            "thread": thread_of(siblings if row in siblings else [row], row), "steps": row.step_readings(),
            "signals": row.signals.all(), "critiques": row.critiques.select_related("membership__pattern"),
            "flags": row.flags.all(), "coverage": row.coverage.select_related("correction"),
            "outcomes": row.conversation.outcomes.order_by("at"), "conversation": row.conversation,
        }  # fmt: skip

    @display(description="Conversation ended")
    def resolution_label(self, row: Episode) -> str:
        return pill(row.conversation.resolution, row.conversation.get_resolution_display())

    @display(description="The user said")
    def short_text(self, row: Any) -> str:
        return row.last_said or ""

    @display(description="Intent")
    def intent(self, row: Episode) -> str:
        return row.conversation.intent.name if row.conversation.intent else ""

    # several at once

    def has_flag_permission(self, request: HttpRequest) -> bool:
        return Permission.FLAG_EPISODE in standing(request)

    def has_correct_permission(self, request: HttpRequest) -> bool:
        return Permission.CORRECT_EPISODE in standing(request)

    @action(description="Flag selected episodes", permissions=["flag"])
    def flag_selected(self, request: HttpRequest, queryset: QuerySet[Episode]) -> HttpResponse:
        return self._together(request, queryset, FlagFields, flag_together, "flag_selected", "Flag")

    @action(description="Correct selected episodes", permissions=["correct"])
    def correct_selected(self, request: HttpRequest, queryset: QuerySet[Episode]) -> HttpResponse:
        return self._together(request, queryset, CorrectionFields, correct_together, "correct_selected", "Correct")

    def _together(
        self, request: HttpRequest, rows: QuerySet[Episode], needs: type[BaseModel], perform: Callable[..., str],
        name: str, label: str,
    ) -> HttpResponse:  # fmt: skip
        """Ask once for what concerns all selected episodes, then call the verb with all of them."""
        posted = request.POST if "_apply" in request.POST else None
        form = verb_form(needs, needs_reason=False)(posted, actor=person(request))
        if posted is not None and form.is_valid():
            try:
                with acting(person(request), reason=form.cleaned_data["reason"]):
                    said = perform(list(rows), by=person(request), reason=form.cleaned_data["reason"], **form.arguments)
            except DomainError as refusal:
                form.add_error(None, str(refusal))
            else:
                messages.success(request, said)
                return HttpResponseRedirect(request.get_full_path())
        chosen = rows.select_related("conversation")[:200]
        context = {"form": form, "rows": chosen, "action": name, "label": label, "checkbox": ACTION_CHECKBOX_NAME}
        title = {"title": f"{label} {len(chosen)} episodes"}
        return TemplateResponse(request, "episodes/together.html", self._around(request) | context | title)


@admin.register(Outcome)
class OutcomeAdmin(FactAdmin):
    list_display = ("name", "value", "source", "conversation", "at", "recorded_by")
    list_filter = (choices("name", "name", _ENDS), "source")
    list_select_related = ("conversation",)
    list_defer = ("conversation__embedding", "conversation__opening", "conversation__attributes")


@admin.register(Signal)
class SignalAdmin(FactAdmin):
    list_display = ("kind", "layer", "episode", "detector", "created_at")
    list_filter = ("kind", choices("layer", "layer", Layer.choices))
    list_select_related = ("episode",)
    list_defer = ("evidence", *_ITS_BODIES)


@admin.register(Trace)
class TraceAdmin(FactAdmin):
    list_display = ("trace_id", "agent", "has_root", "num_fragments", "last_at", "due_at", "error")
    list_filter = ("has_root",)
    search_fields = ("=trace_id",)
    list_select_related = ("agent",)


@admin.register(TraceFragment)
class TraceFragmentAdmin(FactAdmin):
    list_display = ("trace_id", "agent", "received_at")
    search_fields = ("=trace_id",)
    list_select_related = ("agent",)
    exclude = ("body",)
    list_defer = ("body",)


@admin.register(EpisodeAmendment)
class EpisodeAmendmentAdmin(FactAdmin):
    list_display = ("episode", "reason", "previous_digest", "amended_at")
    list_select_related = ("episode",)
    list_defer = _ITS_BODIES
