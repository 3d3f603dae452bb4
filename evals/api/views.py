"""Benchmarks, cases and runs over REST: the same verbs as in the admin."""

from typing import Any, cast

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from evals.api.benchmarks import DraftingActions, LabelingActions
from evals.api.run_reports import RunReports
from evals.api.serializers import (
    Activated,
    Added,
    BenchmarkCreate,
    BenchmarkDetail,
    CaseCreate,
    CaseDetail,
    ReasonGiven,
    Released,
    ResultDetail,
    RotationDetail,
    RunCreate,
    RunDetail,
    RunRow,
)
from evals.api.simulation import SimulationActions
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.leaks import num_releases, release_leak
from evals.models import Benchmark, Case, Run
from evals.querysets import BenchmarkQuerySet, RunQuerySet
from evals.rotation import rotate_holdout
from evals.secrecy import ExamReader
from evals.starting import validate_now
from harness.api.verbs import GovernedViewSet, StatefulViewSet, with_verbs
from harness.authentication import actor_of
from harness.models import Agent
from proposals.models import Proposal

__all__ = ["BenchmarkViewSet", "CaseViewSet", "RunViewSet"]


class BenchmarkViewSet(SimulationActions, mixins.CreateModelMixin, DraftingActions, GovernedViewSet):
    """An agent's examples."""

    model = Benchmark
    serializer_class = BenchmarkDetail

    def get_queryset(self) -> Any:
        return cast("BenchmarkQuerySet", super().get_queryset()).select_related("agent").with_counts()

    @extend_schema(request=BenchmarkCreate, responses={201: BenchmarkDetail})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        body = BenchmarkCreate(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=body.validated_data["agent"])
        named = {name: body.validated_data[name] for name in ("name", "description", "scored_outside")}
        made = create_benchmark(agent, **named, by=actor)
        return Response(BenchmarkDetail(self.get_queryset().get(pk=made.pk)).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=CaseCreate(many=True), responses={201: Added})
    @action(detail=True, methods=["post"], url_path="cases")
    def add(self, request: Request, pk: str | None = None) -> Response:
        """Add cases as drafts; all of them or none."""
        body = CaseCreate(data=request.data, many=True)
        body.is_valid(raise_exception=True)
        added = add_cases(self.get_object(), body.validated_data, by=actor_of(request))
        return Response({"added": len(added)}, status=status.HTTP_201_CREATED)

    @extend_schema(request=ReasonGiven, responses=Activated)
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, pk: str | None = None) -> Response:
        """Activate every draft case."""
        body = ReasonGiven(data=request.data)
        body.is_valid(raise_exception=True)
        number = activate_drafts(self.get_object(), by=actor_of(request), reason=body.validated_data["reason"])
        return Response({"activated": number})

    @extend_schema(request=ReasonGiven, responses=RotationDetail)
    @action(detail=True, methods=["post"])
    def rotate_holdout(self, request: Request, pk: str | None = None) -> Response:
        """Replace at least 30 % of the hold-out by draft cases never played; looks and attempts count anew."""
        body = ReasonGiven(data=request.data)
        body.is_valid(raise_exception=True)
        rotated = rotate_holdout(self.get_object(), by=actor_of(request), reason=body.validated_data["reason"])
        return Response(rotated._asdict())


class _ExamViewSet(StatefulViewSet):
    """Rows of exams: one reader for the length of a request, whose reading is recorded."""

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "reader": ExamReader(actor_of(self.request))}


@with_verbs
class CaseViewSet(LabelingActions, _ExamViewSet):
    """Single examples. Text of verify and hold-out cases is for those who neither correct nor draft."""

    model = Case
    serializer_class = CaseDetail

    def get_queryset(self) -> Any:
        rows = super().get_queryset().select_related("intent", "benchmark__agent")
        query = self.request.query_params
        return rows.filter(**{name: query[name] for name in ("split", "status") if name in query})


@with_verbs
class RunViewSet(RunReports, mixins.CreateModelMixin, _ExamViewSet):
    """Paired comparisons and their verdicts."""

    model = Run

    def get_serializer_class(self) -> Any:
        return {"list": RunRow, "create": RunCreate}.get(self.action, RunDetail)

    def get_queryset(self) -> Any:
        rows = cast("RunQuerySet", super().get_queryset()).select_related("agent").with_num_done()
        wanted = {
            name: self.request.query_params[name]
            for name in ("status", "proposal")
            if name in self.request.query_params
        }
        return rows.filter(**wanted)

    @extend_schema(request=RunCreate, responses={201: RunDetail})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Begin the validation of a submitted proposal, or the next look of a held one."""
        body = RunCreate(data=request.data)
        body.is_valid(raise_exception=True)
        actor = actor_of(request)
        proposal = get_object_or_404(Proposal.objects.visible_to(actor), pk=body.validated_data["proposal"])
        validate_now(proposal, by=actor, reason=body.validated_data["reason"])
        run = self.get_queryset().filter(proposal=proposal).first()
        return Response(RunDetail(run).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ReasonGiven, responses=Released)
    @action(detail=True, methods=["post"])
    def release_leak(self, request: Request, pk: str | None = None) -> Response:
        """Let a suspected leak of the exam go, as one of two people none of whom wrote the change."""
        body = ReasonGiven(data=request.data)
        body.is_valid(raise_exception=True)
        run = self.get_object()
        sentence = release_leak(run, by=actor_of(request), reason=body.validated_data["reason"])
        return Response({"released": num_releases(run), "sentence": sentence})

    @extend_schema(responses=ResultDetail(many=True))
    @action(detail=True, methods=["get"])
    def results(self, request: Request, pk: str | None = None) -> Response:
        """Return the rows behind the verdict; what was said in the exam only to those who may read it."""
        rows = self.get_object().results.select_related("run_case__case__benchmark__agent")
        page = self.paginate_queryset(rows.order_by("-id"))
        detail = ResultDetail(page, many=True, context=self.get_serializer_context())
        return self.get_paginated_response(detail.data)
