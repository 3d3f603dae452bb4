"""Addresses of episodes and of what is said about them."""

from django.urls import path
from rest_framework.routers import DefaultRouter

from episodes.api.arrivals import ArrivalsView
from episodes.api.completeness import CompletenessView
from episodes.api.views import (
    ConversationViewSet,
    CorrectionViewSet,
    CritiqueViewSet,
    EpisodeViewSet,
    IntentViewSet,
    PatternViewSet,
)

__all__ = ["urlpatterns"]

router = DefaultRouter(trailing_slash=False)
router.include_root_view = False
router.include_format_suffixes = False
router.register("episodes", EpisodeViewSet, basename="episode")
router.register("conversations", ConversationViewSet, basename="conversation")
router.register("corrections", CorrectionViewSet, basename="correction")
router.register("critiques", CritiqueViewSet, basename="critique")
router.register("patterns", PatternViewSet, basename="pattern")
router.register("intents", IntentViewSet, basename="intent")
urlpatterns = [
    path("completeness", CompletenessView.as_view(), name="completeness"),
    path("agents/<slug:slug>/arrivals", ArrivalsView.as_view(), name="agent-arrivals"),
    *router.urls,
]
