"""Flags, corrections, critiques and the taxonomy of wants."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from pydantic import BaseModel, Field
from unfold.decorators import display

from accounts.acting import Actor
from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, GovernedAdmin, VisibleRelatedFilter, person
from audit.facts import FactAdmin
from audit.forms import DeskForm
from episodes.intents import define, redefine
from episodes.models import CorrectedEpisode, Correction, Critique, Flag, Intent
from harness.models import Agent

__all__ = ["CorrectedEpisodeAdmin", "CorrectionAdmin", "CritiqueAdmin", "FlagAdmin", "IntentAdmin"]


class _MarkedOnEpisodes(GovernedAdmin):
    """Rows people make on the page of an episode, where they can read what they judge."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Flag)
class FlagAdmin(_MarkedOnEpisodes):
    list_display = ("reason", "episode", "note", "flagged_by_name", "created_at")
    list_filter = ("reason", ("episode__agent", VisibleRelatedFilter))
    list_select_related = ("episode",)
    ordering = ("-id",)


@admin.register(Correction)
class CorrectionAdmin(_MarkedOnEpisodes):
    list_display = ("__str__", "agent", "intent", "num_covered", "should_escalate", "corrected_by_name", "created_at")
    list_filter = (("agent", VisibleRelatedFilter), "should_escalate")
    search_fields = ("title", "answer")
    list_select_related = ("agent", "intent")
    ordering = ("-id",)
    reading_template = "episodes/correction.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(covered=Count("coverage"))
        return rows

    def reading(self, request: HttpRequest, row: Correction) -> dict[str, Any]:
        return {"coverage": row.coverage.select_related("episode__conversation")[:200]}

    @display(description="Episodes", ordering="covered")
    def num_covered(self, row: Any) -> int:
        return int(row.covered)


@admin.register(CorrectedEpisode)
class CorrectedEpisodeAdmin(GovernedAdmin):
    list_display = ("correction", "episode", "arguments")
    list_select_related = ("correction", "episode")
    ordering = ("-id",)


@admin.register(Critique)
class CritiqueAdmin(FactAdmin):
    list_display = ("short_what", "is_failure", "layer", "source", "episode", "audited_at_random", "created_at")
    list_filter = ("is_failure", "layer", "source", "audited_at_random", ("episode__agent", VisibleRelatedFilter))
    search_fields = ("what",)
    list_select_related = ("episode",)
    list_defer = (
        "why", "prevention", "counterfactual", "evidence", "episode__input", "episode__output", "episode__steps",
        "episode__sources", "episode__usage", "episode__external_refs", "episode__attributes",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("episode", "is_failure", "what", "why", "prevention", "counterfactual")}),
        ("Where", {"fields": ("layer", "attributed_layer", "source", "audited_at_random", "evidence", "created_at")}),
    )

    @display(description="What went wrong")
    def short_what(self, row: Critique) -> str:
        return row.what[:110]


class IntentForm(DeskForm):
    """A want, defined by a sentence and at least three ways of saying it."""

    agent = forms.ModelChoiceField(Agent.objects.none(), to_field_name="slug")
    name = forms.CharField(max_length=160)
    definition = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}), help_text="One sentence: what such a user wants."
    )
    examples = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 6}), help_text="One way of saying it a line; three or more."
    )
    parent = forms.ModelChoiceField(Intent.objects.none(), required=False, help_text="The broader want it belongs to.")
    level = forms.IntegerField(min_value=1, max_value=3, initial=3, help_text="1 is broadest, 3 a single want.")

    def prepare(self) -> None:
        for name, rows in (
            ("agent", Agent.objects.visible_to(self.actor)),
            ("parent", Intent.objects.visible_to(self.actor)),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ModelChoiceField)  # declared above
            field.queryset = rows

    def clean_examples(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["examples"].splitlines() if line.strip()]


class Redefinition(BaseModel):
    """How an intent is described from now on."""

    name: str = Field(max_length=160)
    definition: str = Field(max_length=2_000, description="One sentence: what such a user wants.")
    examples: list[str] = Field(description="Three or more ways of saying it, as a JSON list.")


def _redefine(row: Intent, *, by: Actor, reason: str, **described: Any) -> str:
    redefine(row, by=by, **described)
    return "Redefined; its identity stays, and conversations find it by its new center."


@admin.register(Intent)
class IntentAdmin(GovernedAdmin):
    list_display = ("name", "state_label", "agent", "parent", "level", "num_conversations", "is_auto_named")
    list_filter = (("agent", VisibleRelatedFilter), "state", "level")
    search_fields = ("name", "slug")
    list_select_related = ("agent", "parent")
    fields = (
        "agent", "name", "slug", "definition", "examples", "parent", "level", "state", "is_auto_named",
        "num_conversations", "embedding_model", "created_at",
    )  # fmt: skip
    writing_form = IntentForm
    writing_help = (
        "A want you define is live at once: conversations that no other intent holds as well are assigned to it."
    )
    acts = (
        Act("redefine", "Redefine", Permission.EDIT_INTENTS, _redefine, form=Redefinition, needs_reason=False,
            initial=lambda row: {"name": row.name, "definition": row.definition, "examples": row.examples}),
    )  # fmt: skip

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Intent:
        return define(by=person(request), **data)

    @display(description="State", ordering="state", label=STATUS_COLORS)
    def state_label(self, row: Intent) -> tuple[str, str]:
        return row.state, row.get_state_display()
