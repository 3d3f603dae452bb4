"""Conversations and episodes, readable as the talks they were, to flag and to correct."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from pydantic import BaseModel
from unfold.decorators import action, display

from accounts.acting import acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, GovernedAdmin, VisibleRelatedFilter, folded, person, standing
from audit.forms import verb_form
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
from episodes.models import Conversation, Episode, EpisodeAmendment, Outcome, Signal, Trace, TraceFragment
from episodes.turns import turns_of

__all__ = [
    "ConversationAdmin", "EpisodeAdmin", "EpisodeAmendmentAdmin", "OutcomeAdmin", "SignalAdmin", "TraceAdmin",
    "TraceFragmentAdmin",
]  # fmt: skip

RESOLUTION_COLORS = {**STATUS_COLORS, "open": "default"}
_MAX_EPISODES = 60


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
class ConversationAdmin(GovernedAdmin):
    list_display = ("external_id", "resolution_label", "agent", "short_opening", "intent", "split", "last_at")
    list_filter = (("agent", VisibleRelatedFilter), "resolution", "split", ("intent", VisibleRelatedFilter))
    search_fields = ("=external_id", "=subject", "opening")
    list_select_related = ("agent", "intent")
    ordering = ("-id",)
    fieldsets = folded(
        "agent", "external_id", "subject", "split", "near_duplicate_of", "attributes", "started_at", "last_at", "settled_at",
        "resolution", "resolution_source", "intent",
    )  # fmt: skip
    reading_template = "episodes/conversation.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("embedding")

    def reading(self, request: HttpRequest, row: Conversation) -> dict[str, Any]:
        episodes = list(row.episodes.order_by("started_at", "id")[:_MAX_EPISODES])
        return {"thread": thread_of(episodes), "outcomes": row.outcomes.order_by("at"), "conversation": row}

    @display(description="Ended", ordering="resolution", label=RESOLUTION_COLORS)
    def resolution_label(self, row: Conversation) -> tuple[str, str]:
        return row.resolution, row.get_resolution_display()

    @display(description="Opening")
    def short_opening(self, row: Conversation) -> str:
        return row.opening[:90]


@admin.register(Episode)
class EpisodeAdmin(GovernedAdmin):
    list_display = ("external_id", "resolution_label", "agent", "short_text", "intent", "arm", "started_at")
    list_filter = (
        ("agent", VisibleRelatedFilter), "conversation__resolution", "conversation__split", "arm",
        ("flags", admin.EmptyFieldListFilter),
    )  # fmt: skip
    search_fields = ("=external_id", "=conversation__external_id", "=conversation__subject", "=harness_digest")
    search_help_text = "A whole id of an episode, conversation, user or version"
    list_select_related = ("agent", "conversation__intent")
    ordering = ("-id",)
    fieldsets = folded(
        "agent", "conversation", "external_id", "workflow", "sources", "usage", "external_refs", "attributes",
        "harness_digest", "release_ref", "arm", "weight", "started_at", "ended_at", "captured_at", "understood_at",
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
    )

    def reading(self, request: HttpRequest, row: Episode) -> dict[str, Any]:
        siblings = list(row.conversation.episodes.order_by("started_at", "id")[:_MAX_EPISODES])
        return {
            "thread": thread_of(siblings if row in siblings else [row], row), "steps": row.step_readings(),
            "signals": row.signals.all(), "critiques": row.critiques.select_related("membership__pattern"),
            "flags": row.flags.all(), "coverage": row.coverage.select_related("correction"),
            "outcomes": row.conversation.outcomes.order_by("at"), "conversation": row.conversation,
        }  # fmt: skip

    @display(description="Conversation ended", label=RESOLUTION_COLORS)
    def resolution_label(self, row: Episode) -> tuple[str, str]:
        return row.conversation.resolution, row.conversation.get_resolution_display()

    @display(description="The user said")
    def short_text(self, row: Episode) -> str:
        return row.last_user_text[:90]

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
class OutcomeAdmin(GovernedAdmin):
    list_display = ("name", "value", "source", "conversation", "at", "recorded_by")
    list_filter = ("name", "source")
    list_select_related = ("conversation",)
    ordering = ("-id",)


@admin.register(Signal)
class SignalAdmin(GovernedAdmin):
    list_display = ("kind", "layer", "episode", "detector", "created_at")
    list_filter = ("kind", "layer")
    list_select_related = ("episode",)
    ordering = ("-id",)


@admin.register(Trace)
class TraceAdmin(GovernedAdmin):
    list_display = ("trace_id", "agent", "has_root", "num_fragments", "last_at", "due_at", "error")
    list_filter = ("has_root",)
    search_fields = ("=trace_id",)
    list_select_related = ("agent",)
    ordering = ("-id",)


@admin.register(TraceFragment)
class TraceFragmentAdmin(GovernedAdmin):
    list_display = ("trace_id", "agent", "received_at")
    search_fields = ("=trace_id",)
    list_select_related = ("agent",)
    exclude = ("body",)
    ordering = ("-id",)


@admin.register(EpisodeAmendment)
class EpisodeAmendmentAdmin(GovernedAdmin):
    list_display = ("episode", "reason", "previous_digest", "amended_at")
    list_select_related = ("episode",)
    ordering = ("-id",)
