"""Lessons over REST: agents recall and post, people confirm and retire."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.acting import Actor
from accounts.exceptions import NotPermittedError
from accounts.roles import Permission
from harness.api.serializers import ReasonRequest
from harness.api.verbs import GovernedViewSet
from harness.authentication import actor_of
from harness.models import Agent
from lessons import memory
from lessons.api.serializers import LessonDetail, LessonPost, RecallQuery
from lessons.models import Lesson

__all__ = ["AgentLessonsView", "LessonViewSet"]


class AgentLessonsView(APIView):
    """`/agents/{agent}/lessons`: what was learned, nearest in meaning; what an agent learned itself is quarantined."""

    def _agent(self, request: Request, slug: str, *, permission: Permission, scopes: set[str]) -> tuple[Agent, Actor]:
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug)
        if actor.agent_id is None:
            require(actor, permission, agent.access_scope(), act="use the lessons of this agent")
        elif not scopes & set(actor.scopes or ()):
            raise NotPermittedError(f"This key lacks the scope {' or '.join(sorted(scopes))}; issue one that has it.")
        return agent, actor

    @extend_schema(parameters=[RecallQuery], responses=LessonDetail(many=True))
    def get(self, request: Request, slug: str) -> Response:
        """Return the confirmed lessons nearest in meaning to `q`, nearest first; without `q` the newest."""
        scopes = {"harness:read", "lesson:write"}
        agent, _ = self._agent(request, slug, permission=Permission.VIEW, scopes=scopes)
        query = RecallQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        found = memory.recall(agent, query.validated_data["q"], limit=query.validated_data["limit"])
        return Response({"results": LessonDetail(found, many=True).data})

    @extend_schema(request=LessonPost, responses={201: LessonDetail})
    def post(self, request: Request, slug: str) -> Response:
        """Keep a lesson in quarantine until a person confirms it."""
        agent, actor = self._agent(request, slug, permission=Permission.TRIAGE_PATTERN, scopes={"lesson:write"})
        body = LessonPost(data=request.data)
        body.is_valid(raise_exception=True)
        lesson = memory.post(agent, by=actor, **body.validated_data)
        return Response(LessonDetail(lesson).data, status=status.HTTP_201_CREATED)


class LessonViewSet(GovernedViewSet):
    """Lessons of all agents their reader may see, with what people decide about them."""

    model = Lesson
    serializer_class = LessonDetail

    FILTERS = {"state": "state", "layer": "layer"}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("agent")

    @extend_schema(request=ReasonRequest, responses=LessonDetail)
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str | None = None) -> Response:
        """Let agents read it."""
        return self._decide(request, memory.confirm)

    @extend_schema(request=ReasonRequest, responses=LessonDetail)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str | None = None) -> Response:
        """Take it out of use."""
        return self._decide(request, memory.retire)

    def _decide(self, request: Request, act: Any) -> Response:
        body = ReasonRequest(data=request.data)
        body.is_valid(raise_exception=True)
        lesson = self.get_object()
        act(lesson, by=actor_of(request), reason=body.validated_data["reason"])
        return Response(LessonDetail(lesson).data)
