"""Comparisons and matrices over REST: the same verbs as in the admin."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from evals.api.serializers import RunDetail
from evals.comparing import MAX_TRIALS, version_named
from evals.matrices import MAX_CELLS, ask_matrix, read_matrix
from evals.models import Benchmark, Case, Matrix, Run
from evals.starting import compare
from harness.api.verbs import GovernedViewSet
from harness.authentication import actor_of

__all__ = ["ComparisonViewSet", "MatrixViewSet"]


class _Asked(serializers.Serializer[Any]):
    benchmark = serializers.UUIDField()
    split = serializers.ChoiceField(choices=Case.Split.choices, required=False, default="verify")
    trials = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=MAX_TRIALS)
    runner = serializers.ChoiceField(choices=Run.Runner.choices, required=False, default="http")
    reason = serializers.CharField(max_length=4_000)

    @property
    def asked(self) -> dict[str, Any]:
        """Return what the verb takes besides the benchmark and what is compared."""
        return {name: self.validated_data[name] for name in ("split", "trials", "runner", "reason")}


class ComparisonCreate(_Asked):
    """Two versions, each by its number or digest. `targets` names the intents that are asked about; none asks about all."""

    baseline = serializers.CharField(max_length=64)
    candidate = serializers.CharField(max_length=64)
    targets = serializers.ListField(child=serializers.SlugField(), required=False, default=list, max_length=200)


class MatrixCreate(_Asked):
    """Versions by number or digest, and the names of models."""

    versions = serializers.ListField(child=serializers.CharField(max_length=64), min_length=1, max_length=MAX_CELLS)
    models = serializers.ListField(child=serializers.CharField(max_length=200), min_length=1, max_length=MAX_CELLS)


class CellDetail(serializers.Serializer[Any]):
    """A learning on a model: `transfers`, `neutral` or `harmful` once its run is judged, with the gate's numbers."""

    model = serializers.CharField()
    run = serializers.UUIDField(source="run.pk", default=None)
    label = serializers.CharField(  # type: ignore[assignment]  # a field of the cell that Field also has an attribute for
        source="transfer.label", default=None
    )
    sentence = serializers.CharField()
    numbers = serializers.DictField(source="transfer.numbers", default=None)


class LearningDetail(serializers.Serializer[Any]):
    """A step from a version to the next."""

    version = serializers.CharField()
    base = serializers.CharField()
    note = serializers.CharField()
    cells = CellDetail(many=True)


class MatrixDetail(serializers.ModelSerializer[Matrix]):
    agent = serializers.CharField(source="agent.slug")
    learnings = serializers.SerializerMethodField()

    class Meta:
        model = Matrix
        fields = ("id", "agent", "benchmark", "reason", "asked_by", "created_at", "learnings")

    @extend_schema_field(LearningDetail(many=True))
    def get_learnings(self, matrix: Matrix) -> Any:
        return LearningDetail(read_matrix(matrix), many=True).data


class ComparisonViewSet(viewsets.ViewSet):
    """Any two versions of an agent on one of its benchmarks; the verdict is shown and changes nothing."""

    @extend_schema(request=ComparisonCreate, responses={201: RunDetail})
    def create(self, request: Request) -> Response:
        """Ask for a comparison; follow it at `/runs/{id}`."""
        body = ComparisonCreate(data=request.data)
        body.is_valid(raise_exception=True)
        actor, given = actor_of(request), body.validated_data
        benchmark = get_object_or_404(Benchmark.objects.visible_to(actor), pk=given["benchmark"])
        baseline, candidate = (version_named(benchmark.agent, given[arm]) for arm in ("baseline", "candidate"))
        run = compare(baseline, candidate, benchmark, by=actor, targets=given["targets"], **body.asked)
        shown = Run.objects.select_related("agent").with_num_done().get(pk=run.pk)
        return Response(RunDetail(shown).data, status=status.HTTP_201_CREATED)


class MatrixViewSet(mixins.CreateModelMixin, GovernedViewSet):
    """Which learnings carry over to which models."""

    model = Matrix
    serializer_class = MatrixDetail
    FILTERS = {"agent": "agent__slug"}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("agent").prefetch_related("runs")

    @extend_schema(request=MatrixCreate, responses={201: MatrixDetail})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Have each version played against the one it was built on, both on each model."""
        body = MatrixCreate(data=request.data)
        body.is_valid(raise_exception=True)
        actor, given = actor_of(request), body.validated_data
        benchmark = get_object_or_404(Benchmark.objects.visible_to(actor), pk=given["benchmark"])
        versions = [version_named(benchmark.agent, name) for name in given["versions"]]
        matrix = ask_matrix(benchmark, versions, given["models"], by=actor, **body.asked)
        return Response(MatrixDetail(self.get_queryset().get(pk=matrix.pk)).data, status=status.HTTP_201_CREATED)
