"""Shapes of what goes in and out; the domain decides what it means."""

from typing import Any

from rest_framework import serializers

from episodes.detectors.readings import STEP_KIND_CHOICES, StepReading
from episodes.models import (
    Conversation,
    CorrectedEpisode,
    Correction,
    Critique,
    Episode,
    Flag,
    Intent,
    Outcome,
    Pattern,
    Signal,
)
from episodes.models.judgments import Layer

__all__ = [
    "CaptureReceipt",
    "ConversationDetail",
    "ConversationRow",
    "CorrectionCreate",
    "CorrectionDetail",
    "CritiqueDetail",
    "EpisodeCreate",
    "EpisodeDetail",
    "EpisodeRow",
    "FlagCreate",
    "FlagDetail",
    "IntentCreate",
    "IntentDetail",
    "OutcomeCreate",
    "OutcomeDetail",
    "PatternDetail",
]


def _slug(name: str = "slug", *, allow_null: bool = False) -> Any:
    return serializers.SlugRelatedField(name, read_only=True, allow_null=allow_null)


class StepCreate(serializers.Serializer[Any]):
    """One act inside an episode. Documentation of the wire: the door reads it."""

    kind = serializers.ChoiceField(choices=STEP_KIND_CHOICES)
    name = serializers.CharField(required=False)
    attempt = serializers.IntegerField(required=False, min_value=1)
    input = serializers.JSONField(required=False)
    output = serializers.JSONField(required=False)
    status = serializers.ChoiceField(choices=("ok", "error"), required=False)
    error = serializers.CharField(required=False, allow_null=True)
    latency_ms = serializers.FloatField(required=False, allow_null=True)


class EpisodeCreate(serializers.Serializer[Any]):
    """One episode as agents report it. Documentation of the wire: the door reads it."""

    id = serializers.CharField(max_length=200, help_text="The agent's own id; unique per agent.")
    conversation = serializers.CharField(max_length=200, required=False)
    subject = serializers.CharField(max_length=200, required=False, help_text="The agent's end user; an opaque id.")
    agent = serializers.SlugField(required=False, help_text="Must be the key's agent.")
    started_at = serializers.DateTimeField(required=False)
    ended_at = serializers.DateTimeField(required=False)
    input = serializers.JSONField(required=False, help_text='{"messages": [{"role", "content"}]}')
    output = serializers.JSONField(required=False, help_text='{"text": …}')
    workflow = serializers.CharField(max_length=120, required=False)
    steps = StepCreate(many=True, required=False)
    sources = serializers.ListField(required=False)
    usage = serializers.JSONField(required=False)
    harness_digest = serializers.CharField(required=False)
    release = serializers.UUIDField(required=False, allow_null=True)
    arm = serializers.CharField(max_length=10, required=False, allow_null=True)
    weight = serializers.FloatField(required=False, allow_null=True)
    external_refs = serializers.JSONField(required=False)
    attributes = serializers.JSONField(required=False)


class RejectedItem(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    id = serializers.CharField()
    code = serializers.CharField()
    reason = serializers.CharField()


class CaptureReceipt(serializers.Serializer[Any]):
    """What became of a batch."""

    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    rejected = RejectedItem(many=True)


class OutcomeCreate(serializers.Serializer[Any]):
    """One statement of how a conversation ended, or a business result that came later."""

    name = serializers.CharField(max_length=60)
    source = serializers.ChoiceField(  # type: ignore[assignment]  # the field of that name, not the option
        choices=Outcome.Source.choices, default=Outcome.Source.AGENT
    )
    value = serializers.FloatField(default=1.0)
    at = serializers.DateTimeField(required=False)
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")


class FlagCreate(serializers.Serializer[Any]):
    reason = serializers.ChoiceField(choices=Flag.Reason.choices)
    note = serializers.CharField(max_length=4_000, required=False, allow_blank=True, default="")


class CorrectionCreate(serializers.Serializer[Any]):
    """What should have happened in one or many episodes. `per_episode_arguments` is keyed as `episodes` names them."""

    episodes = serializers.ListField(child=serializers.CharField(max_length=200), min_length=1, max_length=500)
    agent = serializers.SlugField(required=False, help_text="Needed where external ids of several agents coincide.")
    title = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    answer = serializers.CharField(max_length=20_000, required=False, allow_blank=True, default="")
    tool = serializers.CharField(max_length=120, required=False, allow_blank=True, default="")
    arguments = serializers.DictField(required=False, default=dict)
    per_episode_arguments = serializers.DictField(child=serializers.DictField(), required=False, default=dict)
    intent = serializers.SlugField(required=False, allow_null=True, default=None)
    should_escalate = serializers.BooleanField(required=False, default=False)


class IntentCreate(serializers.Serializer[Any]):
    """A want, defined by a sentence and at least three ways of saying it."""

    agent = serializers.SlugField()
    name = serializers.CharField(max_length=160)
    definition = serializers.CharField(max_length=1_000)
    examples = serializers.ListField(child=serializers.CharField(max_length=1_000), min_length=3, max_length=100)
    parent = serializers.SlugField(  # type: ignore[assignment]  # the field of that name, not the owner
        required=False, allow_null=True, default=None
    )
    level = serializers.IntegerField(min_value=1, max_value=3, default=3)


class StepDetail(serializers.Serializer[StepReading]):
    position = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=STEP_KIND_CHOICES)
    name = serializers.CharField()
    attempt = serializers.IntegerField()
    input = serializers.JSONField()
    output = serializers.JSONField()
    status = serializers.CharField()
    error = serializers.CharField()
    latency_ms = serializers.FloatField(allow_null=True)


class SignalDetail(serializers.ModelSerializer[Signal]):
    class Meta:
        model = Signal
        fields = ("kind", "layer", "evidence", "detector", "created_at")


class OutcomeDetail(serializers.ModelSerializer[Outcome]):
    class Meta:
        model = Outcome
        fields = ("id", "name", "value", "source", "reason", "at", "recorded_at", "recorded_by")


class FlagDetail(serializers.ModelSerializer[Flag]):
    class Meta:
        model = Flag
        fields = ("id", "episode", "reason", "note", "flagged_by_name", "created_at")


class EpisodeRow(serializers.ModelSerializer[Episode]):
    agent = _slug()
    conversation = _slug("external_id")
    opening = serializers.CharField(source="first_user_text", read_only=True)

    class Meta:
        model = Episode
        fields = (
            "id", "external_id", "agent", "conversation", "workflow", "harness_digest", "release_ref", "arm", "weight",
            "opening", "started_at", "ended_at", "captured_at", "understood_at", "analysis_failed_at", "analysis_error",
        )  # fmt: skip


class EpisodeDetail(EpisodeRow):
    steps = StepDetail(source="step_readings", many=True, read_only=True)
    signals = SignalDetail(many=True, read_only=True)
    flags = FlagDetail(many=True, read_only=True)

    class Meta(EpisodeRow.Meta):
        fields = (  # type: ignore[assignment]  # a longer tuple than the row's
            *EpisodeRow.Meta.fields,
            "input", "output", "sources", "usage", "external_refs", "attributes", "body_digest", "steps", "signals", "flags",
        )  # fmt: skip


class ConversationRow(serializers.ModelSerializer[Conversation]):
    agent = _slug()
    intent = _slug(allow_null=True)

    class Meta:
        model = Conversation
        fields = (
            "id", "external_id", "agent", "subject", "split", "near_duplicate_of", "intent", "resolution", "resolution_source",
            "started_at", "last_at", "settled_at", "opening",
        )  # fmt: skip


class ConversationDetail(ConversationRow):
    episodes = EpisodeRow(many=True, read_only=True)
    outcomes = OutcomeDetail(many=True, read_only=True)

    class Meta(ConversationRow.Meta):
        fields = (*ConversationRow.Meta.fields, "attributes", "episodes", "outcomes")  # type: ignore[assignment]  # longer


class CoverageDetail(serializers.ModelSerializer[CorrectedEpisode]):
    class Meta:
        model = CorrectedEpisode
        fields = ("episode", "arguments")


class CorrectionDetail(serializers.ModelSerializer[Correction]):
    agent = _slug()
    intent = _slug(allow_null=True)
    coverage = CoverageDetail(many=True, read_only=True)

    class Meta:
        model = Correction
        fields = (
            "id", "agent", "intent", "title", "answer", "tool", "arguments", "should_escalate", "corrected_by_name",
            "created_at", "coverage",
        )  # fmt: skip


class CritiqueDetail(serializers.ModelSerializer[Critique]):
    attributed_layer = serializers.ChoiceField(choices=Layer.choices, allow_blank=True, read_only=True)

    class Meta:
        model = Critique
        fields = (
            "id", "episode", "source", "is_failure", "what", "why", "prevention", "counterfactual", "layer",
            "attributed_layer", "evidence", "audited_at_random", "created_at",
        )  # fmt: skip


class PatternDetail(serializers.ModelSerializer[Pattern]):
    agent = _slug()
    intent = _slug(allow_null=True)

    class Meta:
        model = Pattern
        fields = (
            "id", "agent", "layer", "kind", "intent", "title", "status", "num_episodes", "num_subjects",
            "first_seen_at", "last_seen_at", "created_at",
        )  # fmt: skip


class IntentDetail(serializers.ModelSerializer[Intent]):
    agent = _slug()
    parent = _slug(allow_null=True)

    class Meta:
        model = Intent
        fields = (
            "id", "agent", "parent", "level", "slug", "name", "definition", "examples", "state", "is_auto_named",
            "num_conversations", "created_at",
        )  # fmt: skip
