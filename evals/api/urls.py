"""Addresses of evals."""

from rest_framework.routers import DefaultRouter

from evals.api.views import BenchmarkViewSet, CaseViewSet, RunViewSet

__all__ = ["urlpatterns"]

router = DefaultRouter(trailing_slash=False)
router.include_root_view = False
router.register("benchmarks", BenchmarkViewSet, basename="benchmark")
router.register("cases", CaseViewSet, basename="case")
router.register("runs", RunViewSet, basename="run")
urlpatterns = router.urls
