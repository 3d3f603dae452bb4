"""Runs that are played elsewhere, over REST: open, fetch the cases, post results, close."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from episodes.pressure import admitted
from evals.api.serializers import ReasonGiven, RunDetail
from evals.external.curating import cases_to_curate, post_curation
from evals.external.items import MAX_ITEMS
from evals.external.posting import cases_to_play, close, open_validation, post_results
from evals.models import Benchmark, Case, Run, RunCase
from harness.authentication import actor_of
from harness.models import HarnessVersion
from proposals.models import Proposal

__all__ = ["ExternalCurationViewSet", "ExternalRunViewSet"]


class ExternalRunCreate(serializers.Serializer[Any]):
    """The submitted or held proposal whose validation is played elsewhere."""

    proposal = serializers.UUIDField()
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class ExternalRunDetail(serializers.ModelSerializer[Run]):
    """What a program needs to play the run: the arms by the digests of their documents, trials and their seeds."""

    agent = serializers.CharField(source="agent.slug")
    arms = serializers.SerializerMethodField()
    seeds = serializers.SerializerMethodField()
    scored_outside = serializers.BooleanField(source="benchmark.scored_outside")
    num_done = serializers.IntegerField(read_only=True)

    class Meta:
        model = Run
        fields = (
            "id", "agent", "status", "verdict", "arms", "trials", "seeds", "scored_outside", "num_planned", "num_done",
        )  # fmt: skip

    def get_arms(self, run: Run) -> dict[str, str]:
        return {"baseline": run.baseline.digest, "candidate": run.candidate.digest}

    def get_seeds(self, run: Run) -> list[int]:
        return [run.seed + trial for trial in range(run.trials)]


class CaseToPlay(serializers.ModelSerializer[RunCase]):
    """A case as it is played; what is expected of the reply stays here."""

    class Meta:
        model = RunCase
        fields = ("id", "split", "messages", "user_state")


class ResultsReceipt(serializers.Serializer[Any]):
    """What became of a batch: bad results are named by index and reason, good ones were kept."""

    accepted = serializers.IntegerField()
    known = serializers.IntegerField()
    rejected = serializers.ListField(child=serializers.DictField())
    missing = serializers.IntegerField()


class PostedResult(serializers.Serializer[Any]):
    """One result. Say `passed` and `score` only where the benchmark is scored outside."""

    case = serializers.UUIDField()
    arm = serializers.ChoiceField(choices=["baseline", "candidate"])
    trial = serializers.IntegerField(min_value=0)
    output = serializers.DictField(required=False)
    steps = serializers.ListField(child=serializers.DictField(), required=False)
    latency_ms = serializers.FloatField(required=False)
    cost_usd = serializers.FloatField(required=False)
    crashed = serializers.BooleanField(required=False)
    dropped = serializers.BooleanField(required=False)
    error = serializers.CharField(required=False)
    score = serializers.FloatField(required=False)
    passed = serializers.BooleanField(required=False)
    violations = serializers.ListField(child=serializers.CharField(), required=False)
    rationale = serializers.CharField(required=False)


class CurationPost(serializers.Serializer[Any]):
    """Curation trials of a version, by its digest, on a benchmark's verify cases."""

    benchmark = serializers.UUIDField()
    version = serializers.CharField(max_length=64)
    results = serializers.ListField(child=serializers.JSONField(), max_length=MAX_ITEMS)


class CaseToCurate(serializers.ModelSerializer[Case]):
    """A case as it is played; what is expected of the reply stays here."""

    class Meta:
        model = Case
        fields = ("id", "split", "messages", "user_state")


class ExternalCurationViewSet(GenericViewSet[Case]):
    """Curation trials that are played elsewhere: what a version passes 5 of 5 is protected in later runs."""

    permission_classes = (IsAuthenticated,)
    serializer_class = CaseToCurate

    def _place(self, benchmark_id: object, digest: str) -> tuple[Benchmark, HarnessVersion]:
        actor = actor_of(self.request)
        benchmark = get_object_or_404(Benchmark.objects.visible_to(actor).select_related("agent"), pk=benchmark_id)
        return benchmark, get_object_or_404(HarnessVersion.objects.filter(agent=benchmark.agent), digest=digest)

    @extend_schema(
        parameters=[OpenApiParameter("benchmark", OpenApiTypes.UUID, required=True), OpenApiParameter("version", str, required=True)],
        responses=CaseToCurate(many=True),
    )  # fmt: skip
    def list(self, request: Request) -> Response:
        """Return the verify cases whose five trials on the version are not finished."""
        asked = CurationPost(data={**request.query_params.dict(), "results": []})
        asked.is_valid(raise_exception=True)
        place = self._place(asked.validated_data["benchmark"], asked.validated_data["version"])
        page = self.paginate_queryset(cases_to_curate(*place, by=actor_of(request)).order_by("-id"))
        return self.get_paginated_response(CaseToCurate(page, many=True).data)

    @extend_schema(request=CurationPost, responses={202: ResultsReceipt})
    def create(self, request: Request) -> Response:
        """Post curation trials, at most 500. `missing` counts the cases that are not finished; one failure finishes too."""
        body = CurationPost(data=request.data)
        body.is_valid(raise_exception=True)
        place = self._place(body.validated_data["benchmark"], body.validated_data["version"])
        with admitted():
            posted = post_curation(*place, body.validated_data["results"], by=actor_of(request))
        return Response(ResultsReceipt(posted).data, status=status.HTTP_202_ACCEPTED)


class ExternalRunViewSet(GenericViewSet[Run]):
    """Runs whose results are posted by the agent's key with the scope `run:play`, or by people who may start runs."""

    permission_classes = (IsAuthenticated,)
    serializer_class = ExternalRunDetail

    def get_queryset(self) -> QuerySet[Run]:
        if getattr(self, "swagger_fake_view", False):
            return Run.objects.none()
        rows: QuerySet[Run] = (
            Run.objects.visible_to(actor_of(self.request)).filter(runner=Run.Runner.EXTERNAL).with_num_done()
        )
        return rows.select_related("agent", "benchmark", "proposal", "baseline", "candidate")

    @extend_schema(request=ExternalRunCreate, responses={201: RunDetail})
    def create(self, request: Request) -> Response:
        """Open the validation of a proposal; comparisons are opened at `/comparisons` with `runner: external`."""
        body = ExternalRunCreate(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_of(request)
        proposal = get_object_or_404(Proposal.objects.visible_to(actor), pk=body.validated_data["proposal"])
        run = open_validation(proposal, by=actor, reason=body.validated_data["reason"])
        return Response(ExternalRunDetail(self.get_queryset().get(pk=run.pk)).data, status=status.HTTP_201_CREATED)

    def retrieve(self, request: Request, pk: str | None = None) -> Response:
        """Return what is to be played, and how far it is."""
        return Response(ExternalRunDetail(self.get_object()).data)

    @extend_schema(responses=CaseToPlay(many=True))
    @action(detail=True, methods=["get"])
    def cases(self, request: Request, pk: str | None = None) -> Response:
        """Return the cases: messages and user state, never what is expected. A winner's hold-out comes later."""
        page = self.paginate_queryset(cases_to_play(self.get_object(), by=actor_of(request)).order_by("-id"))
        return self.get_paginated_response(CaseToPlay(page, many=True).data)

    @extend_schema(request=PostedResult(many=True), responses={202: ResultsReceipt})
    @action(detail=True, methods=["post"])
    def results(self, request: Request, pk: str | None = None) -> Response:
        """Post a batch, at most 500 results. Sending one again is harmless; the last one has the run judged."""
        run = self.get_object()
        if not isinstance(request.data, list):
            raise serializers.ValidationError("Send a list of results.")
        with admitted():
            posted = post_results(run, request.data, by=actor_of(request))
        return Response(ResultsReceipt(posted).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ReasonGiven, responses=ExternalRunDetail)
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: str | None = None) -> Response:
        """End the playing: missing results count as lost to infrastructure, and the run is judged as it is."""
        body = ReasonGiven(data=request.data)
        body.is_valid(raise_exception=True)
        close(self.get_object(), by=actor_of(request), reason=body.validated_data["reason"])
        return Response(ExternalRunDetail(self.get_object()).data)
