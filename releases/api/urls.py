"""Addresses of releases and serving."""

from django.urls import path
from rest_framework.routers import DefaultRouter

from releases.api.serving import BundleView, HarnessView, UserStateView
from releases.api.views import ReleaseViewSet, RevertView, ThrottleView

__all__ = ["urlpatterns"]

router = DefaultRouter(trailing_slash=False)
router.include_root_view = False
router.register("releases", ReleaseViewSet, basename="release")
urlpatterns = [
    path("agents/<slug:slug>/harness", HarnessView.as_view(), name="harness"),
    path("harnesses/<str:digest>", BundleView.as_view(), name="bundle"),
    path("agents/<slug:slug>/users/<str:subject>/state", UserStateView.as_view(), name="user-state"),
    path("agents/<slug:slug>/revert", RevertView.as_view(), name="revert"),
    path("agents/<slug:slug>/lift-throttle", ThrottleView.as_view(), name="lift-throttle"),
    *router.urls,
]
