"""What a run's page draws, over REST: progress, report, comparison. Numbers and names, never the exam's texts."""

from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from evals.api.reports import ComparisonDetail, ProgressDetail, ReportDetail
from evals.models import Run
from evals.progress import progress_of
from evals.run_reports import comparable_runs, comparison_of, report_of
from harness.authentication import actor_of

__all__ = ["RunReports"]

_OTHER = OpenApiParameter("with", OpenApiTypes.UUID, required=True, description="The other judged run.")


class RunReports(viewsets.GenericViewSet[Any]):
    """Adds to runs what their page draws."""

    model: ClassVar[type[Run]]

    @extend_schema(responses=ProgressDetail)
    @action(detail=True, methods=["get"])
    def progress(self, request: Request, pk: str | None = None) -> Response:
        """Return how far the run is: trials of those planned per arm, time, money. Cheap enough to poll."""
        return Response(ProgressDetail(progress_of(self.get_object())).data)

    @extend_schema(responses=ReportDetail)
    @action(detail=True, methods=["get"])
    def report(self, request: Request, pk: str | None = None) -> Response:
        """Return a judged run's gates against their limits, slices with intervals, pass^k, distributions and flips."""
        return Response(ReportDetail(report_of(self.get_object())).data)

    @extend_schema(parameters=[_OTHER], responses=ComparisonDetail)
    @action(detail=True, methods=["get"])
    def comparison(self, request: Request, pk: str | None = None) -> Response:
        """Return two judged runs of a benchmark, or two looks of a proposal, side by side."""
        run = self.get_object()
        try:
            wanted = UUID(request.query_params.get("with", ""))
        except ValueError as error:
            raise Http404("Name the other run in ?with=.") from error
        others = comparable_runs(run, Run.objects.visible_to(actor_of(request)))
        return Response(ComparisonDetail(comparison_of(run, get_object_or_404(others, pk=wanted))).data)
