"""Addresses of lessons."""

from django.urls import path
from rest_framework.routers import DefaultRouter

from lessons.api.views import AgentLessonsView, LessonViewSet

__all__ = ["urlpatterns"]

router = DefaultRouter(trailing_slash=False)
router.include_root_view = False
router.register("lessons", LessonViewSet, basename="lesson")
urlpatterns = [
    path("agents/<slug:slug>/lessons", AgentLessonsView.as_view(), name="agent-lessons"),
    *router.urls,
]
