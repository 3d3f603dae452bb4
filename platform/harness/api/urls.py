"""Addresses of agents and what governs them."""

from django.urls import path
from rest_framework.routers import DefaultRouter

from harness.api.views import (
    AgentViewSet,
    ChangeViewSet,
    DocumentSchemaView,
    KeyViewSet,
    ObjectiveViewSet,
    PolicyViewSet,
    VersionViewSet,
)

__all__ = ["urlpatterns"]

router = DefaultRouter(trailing_slash=False)
router.include_root_view = False
router.register("agents", AgentViewSet, basename="agent")
router.register("versions", VersionViewSet, basename="version")
router.register("policies", PolicyViewSet, basename="policy")
router.register("objectives", ObjectiveViewSet, basename="objective")
router.register("changes", ChangeViewSet, basename="change")
router.register("keys", KeyViewSet, basename="key")
urlpatterns = [
    path("document-schema", DocumentSchemaView.as_view(), name="document-schema"),
    *router.urls,
]
