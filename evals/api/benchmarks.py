"""Benchmarks over REST: starting one, its coverage and gaps, and what its drafts expect."""

from typing import Any, cast

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from episodes.models import Intent
from evals.countdown import IntentStanding
from evals.coverage import Coverage, coverage_of
from evals.labeling import KEEP, accept_correction, label, label_correction
from evals.models import Benchmark, Case, DraftRound
from evals.proposing_cases import DEFAULT_NUMBER, MAX_NUMBER, MIN_NUMBER, fill_gap, propose_benchmark
from harness.api.verbs import GovernedViewSet
from harness.authentication import actor_of
from harness.models import Agent

__all__ = ["DraftingActions", "LabelingActions"]


class StartBenchmark(serializers.Serializer[Any]):
    """Which agent's captured episodes to draft from, and how many cases its benchmark should have."""

    agent = serializers.SlugField()
    number = serializers.IntegerField(
        required=False, default=DEFAULT_NUMBER, min_value=MIN_NUMBER, max_value=MAX_NUMBER
    )


class FillGap(serializers.Serializer[Any]):
    """The intent to propose drafts of; the empty one is traffic that no intent takes."""

    intent = serializers.SlugField(allow_blank=True, max_length=80)


class DraftRoundDetail(serializers.ModelSerializer[DraftRound]):
    """How far a round of drafting is, and what came of it."""

    agent = serializers.CharField(source="benchmark.agent.slug")
    intent = serializers.CharField(source="intent.slug", default=None, allow_null=True)

    class Meta:
        model = DraftRound
        fields = (
            "id", "agent", "benchmark", "intent", "number", "asked_by_name", "asked_at", "num_planned", "num_done",
            "percent", "num_drafted", "drafted", "sentence", "moved_at", "finished_at",
        )  # fmt: skip


class IntentCoverage(serializers.Serializer[IntentStanding]):
    """What the benchmark has of one intent. The empty slug is traffic that no intent takes."""

    intent = serializers.CharField(source="slug")
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=("live", "emerging", "unassigned"))
    share = serializers.FloatField(help_text="Of all conversations, 0..1.")
    is_covered = serializers.SerializerMethodField()
    verify_cases = serializers.IntegerField()
    verify_clusters = serializers.IntegerField()
    holdout_clusters = serializers.IntegerField()
    holdout_fresh = serializers.IntegerField(help_text="Hold-out clusters that no run has played.")
    dev_clusters = serializers.IntegerField()
    kinds = serializers.DictField(child=serializers.IntegerField())
    drafts = serializers.DictField(child=serializers.IntegerField())
    available = serializers.IntegerField(help_text="Captured conversations of which drafts could be made.")

    def get_is_covered(self, one: IntentStanding) -> bool:
        return one.is_covered(self.context["coverage"].policy)


class CountdownDetail(serializers.Serializer[Any]):
    """What is missing until a gate can decide, by the agent's policy, for the intent that lacks least."""

    is_decidable = serializers.BooleanField()
    sentence = serializers.CharField()
    intent = serializers.CharField(source="gap.intent.slug", default=None, allow_null=True)
    verify_missing = serializers.IntegerField(source="gap.verify", default=None, allow_null=True)
    holdout_missing = serializers.IntegerField(source="gap.holdout", default=None, allow_null=True)
    protected_missing = serializers.IntegerField(source="gap.protected", default=None, allow_null=True)
    protected_clusters = serializers.IntegerField()
    protected_needed = serializers.IntegerField()
    num_uncurated = serializers.IntegerField()
    covered = serializers.FloatField()
    coverage_needed = serializers.FloatField()
    looks_left = serializers.IntegerField()
    look_budget = serializers.IntegerField()
    looks_sentence = serializers.CharField()


class BenchmarkCoverage(serializers.Serializer[Coverage]):
    """A benchmark's coverage, those intents first whose covering adds most; its countdown; its last round of drafting."""

    countdown = CountdownDetail()
    intents = IntentCoverage(many=True)
    drafting = serializers.SerializerMethodField()

    @extend_schema_field(DraftRoundDetail(allow_null=True))
    def get_drafting(self, coverage: Coverage) -> Any:
        last = self.context["benchmark"].draft_rounds.select_related("benchmark__agent", "intent").first()
        return None if last is None else DraftRoundDetail(last).data


class LabelCase(serializers.Serializer[Any]):
    """What a draft expects. Kind and intent stay as they are where they are left out; the empty intent takes it away."""

    expectations = serializers.DictField()
    kind = serializers.ChoiceField(choices=Case.Kind.choices, required=False)
    intent = serializers.SlugField(required=False, allow_blank=True, max_length=80)
    all_of_correction = serializers.BooleanField(
        required=False, default=False, help_text="Label every waiting draft of the same correction in one act."
    )
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class Touched(serializers.Serializer[Any]):
    """The cases that an act changed."""

    cases = serializers.ListField(child=serializers.UUIDField())


class AcceptCorrection(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class DraftingActions(GovernedViewSet):
    """Starting a benchmark from captured episodes, its coverage, and filling its gaps."""

    @extend_schema(request=StartBenchmark, responses={202: DraftRoundDetail})
    @action(detail=False, methods=["post"])
    def start(self, request: Request) -> Response:
        """Propose draft cases from an agent's captured episodes; makes the benchmark where there is none."""
        body = StartBenchmark(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=body.validated_data["agent"])
        started = propose_benchmark(agent, by=actor, number=body.validated_data["number"])
        return Response(DraftRoundDetail(started).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(responses=BenchmarkCoverage)
    @action(detail=True, methods=["get"])
    def coverage(self, request: Request, pk: str | None = None) -> Response:
        """Return what the benchmark covers and what is missing until a gate can decide."""
        benchmark = cast("Benchmark", self.get_object())
        found = coverage_of(benchmark)
        context = {**self.get_serializer_context(), "coverage": found, "benchmark": benchmark}
        return Response(BenchmarkCoverage(found, context=context).data)

    @extend_schema(request=FillGap, responses={202: DraftRoundDetail})
    @action(detail=True, methods=["post"])
    def fill_gap(self, request: Request, pk: str | None = None) -> Response:
        """Propose drafts of one intent from its captured conversations."""
        body = FillGap(data=request.data)
        body.is_valid(raise_exception=True)
        benchmark, slug = cast("Benchmark", self.get_object()), body.validated_data["intent"]
        own = Intent.objects.visible_to(actor_of(request)).filter(agent=benchmark.agent_id)
        started = fill_gap(benchmark, get_object_or_404(own, slug=slug) if slug else None, by=actor_of(request))
        return Response(DraftRoundDetail(started).data, status=status.HTTP_202_ACCEPTED)


class LabelingActions(GovernedViewSet):
    """Saying what drafts expect, and accepting all drafts of a correction."""

    @extend_schema(request=LabelCase, responses=Touched)
    @action(detail=True, methods=["post"])
    def label(self, request: Request, pk: str | None = None) -> Response:
        """Say what a draft expects; who does becomes its author."""
        body = LabelCase(data=request.data)
        body.is_valid(raise_exception=True)
        data, case = body.validated_data, cast("Case", self.get_object())
        given = {
            "by": actor_of(request), "kind": data.get("kind", ""), "intent": data.get("intent", KEEP), "reason": data["reason"],
        }  # fmt: skip
        if data["all_of_correction"]:
            return Response({"cases": [one.pk for one in label_correction(case, data["expectations"], **given)]})
        label(case, data["expectations"], **given)
        return Response({"cases": [case.pk]})

    @extend_schema(request=AcceptCorrection, responses=Touched)
    @action(detail=True, methods=["post"])
    def accept_correction(self, request: Request, pk: str | None = None) -> Response:
        """Put a draft and every waiting draft of its correction in use, in one act."""
        body = AcceptCorrection(data=request.data)
        body.is_valid(raise_exception=True)
        case = cast("Case", self.get_object())
        accepted = accept_correction(case, by=actor_of(request), reason=body.validated_data["reason"])
        return Response({"cases": [one.pk for one in accepted]})
