"""Shapes of benchmarks, cases and runs on the wire."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from evals.models import Benchmark, Case, Result, Run
from evals.querysets import PLACES
from evals.scorers.listing import as_openapi
from evals.secrecy import ExamReader

__all__ = [
    "Activated", "Added", "BenchmarkCreate", "BenchmarkDetail", "CaseCreate", "CaseDetail", "ReasonGiven", "Released", "ResultDetail", "RotationDetail", "RunCreate",
    "RunDetail", "RunRow",
]  # fmt: skip


class BenchmarkCreate(serializers.Serializer[Any]):
    agent = serializers.SlugField()
    name = serializers.CharField(max_length=120)
    description = serializers.CharField(required=False, allow_blank=True, default="")
    scored_outside = serializers.BooleanField(required=False, default=False)


class BenchmarkDetail(serializers.ModelSerializer[Benchmark]):
    agent = serializers.CharField(source="agent.slug")
    cases = serializers.SerializerMethodField()

    class Meta:
        model = Benchmark
        fields = (
            "id",
            "agent",
            "name",
            "description",
            "is_active",
            "scored_outside",
            "holdout_looks",
            "rotated_at",
            "cases",
            "created_at",
        )

    def get_cases(self, benchmark: Benchmark) -> dict[str, int]:
        counts = {f"{split} {status}": getattr(benchmark, f"num_{split}_{status}") for split, status in PLACES}
        return {place: number for place, number in counts.items() if number}


@extend_schema_field(as_openapi())
class ExpectationsField(serializers.DictField):
    """What a case expects; the domain's door says what is wrong with it."""


class CaseCreate(serializers.Serializer[Any]):
    """One case; it starts as a draft."""

    name = serializers.CharField(max_length=160)
    kind = serializers.ChoiceField(choices=Case.Kind.choices)
    split = serializers.ChoiceField(choices=Case.Split.choices)
    intent = serializers.SlugField(required=False, allow_blank=True, default="")
    cluster = serializers.CharField(required=False, allow_blank=True, default="", max_length=160)
    weight = serializers.FloatField(required=False, default=1.0, min_value=0.0)
    source = serializers.CharField(  # type: ignore[assignment]  # a field of the case that Field also has an attribute for
        required=False, allow_blank=True, default="", max_length=160
    )
    messages = serializers.ListField(child=serializers.DictField())
    user_state = serializers.DictField(required=False, default=dict)
    conversation = serializers.DictField(
        required=False, default=dict, help_text="How the user goes on: a script or a simulated user; {} for one turn."
    )
    expectations = ExpectationsField()


class _ExamRow[M: Any](serializers.ModelSerializer[M]):
    """A row of an exam. Who may not read the exam gets null for its text, and `is_concealed`."""

    SECRETS: ClassVar[tuple[str, ...]] = ()

    is_concealed = serializers.SerializerMethodField()

    def to_representation(self, instance: M) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        return shown | (dict.fromkeys(self.SECRETS) if shown["is_concealed"] else {})

    def get_is_concealed(self, row: M) -> bool:
        reader = self.context.get("reader")
        return reader is None or not self.is_read(reader, row)

    def is_read(self, reader: ExamReader, row: M) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must say whose exam its rows are of")


class CaseDetail(_ExamRow[Case]):
    # Which episode it was drafted from tells its text to whoever may read episodes.
    SECRETS = ("messages", "user_state", "conversation", "expectations", "episode", "correction")

    intent = serializers.CharField(source="intent.slug", default=None)
    messages = serializers.JSONField(allow_null=True)
    user_state = serializers.JSONField(allow_null=True)
    conversation = serializers.JSONField(allow_null=True)
    expectations = serializers.JSONField(allow_null=True)
    is_simulated = serializers.BooleanField(read_only=True)

    class Meta:
        model = Case
        fields = (
            "id", "name", "kind", "split", "intent", "cluster", "weight", "source", "episode", "correction", "messages",
            "user_state", "conversation", "expectations", "is_simulated", "status", "is_concealed",
        )  # fmt: skip

    def is_read(self, reader: ExamReader, row: Case) -> bool:
        return reader.reads_case(row)


class ReasonGiven(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class Released(serializers.Serializer[Any]):
    """How the release of a leak stands."""

    released = serializers.IntegerField()
    sentence = serializers.CharField()


class RotationDetail(serializers.Serializer[Any]):
    """How many cases left the hold-out, and how many fresh ones took their place."""

    retired = serializers.IntegerField()
    activated = serializers.IntegerField()


class Added(serializers.Serializer[Any]):
    """How many cases were added."""

    added = serializers.IntegerField()


class Activated(serializers.Serializer[Any]):
    """How many cases were activated."""

    activated = serializers.IntegerField()


class RunCreate(serializers.Serializer[Any]):
    """Ask for the validation of a submitted or held proposal now."""

    proposal = serializers.UUIDField()
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class RunRow(serializers.ModelSerializer[Run]):
    agent = serializers.CharField(source="agent.slug")
    num_done = serializers.IntegerField(read_only=True)
    verdict = serializers.ChoiceField(choices=Run.Verdict.choices, allow_blank=True, read_only=True)

    class Meta:
        model = Run
        fields = (
            "id", "agent", "proposal", "baseline", "candidate", "runner", "split", "status", "verdict", "trials", "num_planned", "num_done",
            "created_at", "started_at", "finished_at", "error",
        )  # fmt: skip


class RunDetail(RunRow):
    class Meta(RunRow.Meta):
        fields = (*RunRow.Meta.fields, "playing", "played_s", "gate_policy", "reading")  # type: ignore[assignment]  # a longer tuple of names


class ResultDetail(_ExamRow[Result]):
    SECRETS = ("rationale", "output", "steps")

    case = serializers.CharField(source="run_case.case.name")
    intent = serializers.CharField(source="run_case.intent_slug")
    split = serializers.CharField(source="run_case.split")
    is_simulated = serializers.BooleanField(read_only=True)
    rationale = serializers.CharField(allow_null=True)
    output = serializers.JSONField(allow_null=True)
    steps = serializers.JSONField(allow_null=True)

    class Meta:
        model = Result
        fields = (
            "id", "case", "intent", "split", "arm", "trial", "score", "passed", "latency_ms", "cost_usd", "runner",
            "fingerprint", "reused_from", "violations", "crashed", "dropped", "is_simulated", "rationale", "output",
            "steps", "is_concealed",
        )  # fmt: skip

    def is_read(self, reader: ExamReader, row: Result) -> bool:
        return reader.reads(row.run_case.case.benchmark, row.run_case.split)
