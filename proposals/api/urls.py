"""Addresses of proposals."""

from django.urls import path
from rest_framework.routers import DefaultRouter

from proposals.api.adoption import AdoptionView
from proposals.api.views import PatternDraftView, ProposalViewSet, StrategyViewSet

__all__ = ["urlpatterns"]

router = DefaultRouter(trailing_slash=False)
router.include_root_view = False
router.register("proposals", ProposalViewSet, basename="proposal")
router.register("strategies", StrategyViewSet, basename="strategy")
urlpatterns = [
    path("agents/<slug:slug>/adoption", AdoptionView.as_view(), name="agent-adoption"),
    path("patterns/<uuid:pk>/draft", PatternDraftView.as_view(), name="pattern-draft"),
    *router.urls,
]
