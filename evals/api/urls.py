"""Addresses of evals."""

from rest_framework.routers import DefaultRouter

from evals.api.comparing import ComparisonViewSet, MatrixViewSet
from evals.api.external import ExternalCurationViewSet, ExternalRunViewSet
from evals.api.judging import JudgeRubricViewSet
from evals.api.views import BenchmarkViewSet, CaseViewSet, RunViewSet

__all__ = ["urlpatterns"]

router = DefaultRouter(trailing_slash=False)
router.include_root_view = False
router.register("benchmarks", BenchmarkViewSet, basename="benchmark")
router.register("cases", CaseViewSet, basename="case")
router.register("judge-rubrics", JudgeRubricViewSet, basename="judge-rubric")
router.register("runs", RunViewSet, basename="run")
router.register("comparisons", ComparisonViewSet, basename="comparison")
router.register("matrices", MatrixViewSet, basename="matrix")
router.register("external-runs", ExternalRunViewSet, basename="external-run")
router.register("external-curations", ExternalCurationViewSet, basename="external-curation")
urlpatterns = router.urls
