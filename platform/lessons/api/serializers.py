"""Shapes of lessons on the wire."""

from typing import Any

from rest_framework import serializers

from harness.documents import LAYERS
from lessons.models import Lesson

__all__ = ["LessonDetail", "LessonPost", "RecallQuery"]


class LessonDetail(serializers.ModelSerializer[Lesson]):
    agent = serializers.CharField(source="agent.slug")

    class Meta:
        model = Lesson
        fields = ("id", "agent", "text", "layer", "state", "source_ref", "helpful", "harmful", "created_at")


class LessonPost(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=4_000)
    layer = serializers.ChoiceField(LAYERS, required=False, allow_blank=True, default="")
    source_ref = serializers.CharField(required=False, allow_blank=True, default="", max_length=100)


class RecallQuery(serializers.Serializer[Any]):
    q = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)
    limit = serializers.IntegerField(required=False, default=10, min_value=1, max_value=100)
