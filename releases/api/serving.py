"""What agents fetch: the resolved harness, immutable bundles, and each user's own state."""

import hashlib
import time
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import permissions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.acting import Actor
from accounts.exceptions import NotPermittedError
from accounts.roles import Permission
from harness.authentication import ApiKeyAuthentication, actor_of
from harness.models import Agent, ApiKey, HarnessVersion
from releases import snapshot
from releases.api.serializers import UserStateDetail, UserStateWrite
from releases.models import UserState
from releases.serving import resolve

__all__ = ["BundleView", "HarnessView", "UserStateView"]

_KEPT_KEYS = 10_000


class CachedKeyAuthentication(BaseAuthentication):
    """The key's authentication, remembered per revision: revoking a key moves the revision and empties this memory."""

    _known: dict[str, tuple[ApiKey, float]] = {}
    _revision = -1

    def authenticate(self, request: Request) -> tuple[Any, ApiKey] | None:
        revision = snapshot.current().revision
        cls = type(self)
        if cls._revision != revision or len(cls._known) > _KEPT_KEYS:
            cls._known, cls._revision = {}, revision
        mark = hashlib.sha256(get_authorization_header(request)).hexdigest()
        kept = cls._known.get(mark)
        if kept is not None and time.time() < kept[1]:
            return kept[0].owner, kept[0]
        found = ApiKeyAuthentication().authenticate(request)
        if found is not None:
            user, key = found
            cls._known[mark] = (key, key.expires_at.timestamp() if key.expires_at else time.time() + 3_600)
            return user, key
        return None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="whetstone"'


class _MayRead(permissions.BasePermission):
    """An agent's own key with the scope `harness:read`."""

    message = "This needs an agent's key with the scope harness:read."

    def has_permission(self, request: Request, view: APIView) -> bool:
        key = request.auth
        return isinstance(key, ApiKey) and key.agent_id is not None and "harness:read" in key.scopes


class HarnessView(APIView):
    """`GET /agents/{agent}/harness`: my current harness, for this user."""

    authentication_classes = (CachedKeyAuthentication,)
    permission_classes = (_MayRead,)

    @extend_schema(
        parameters=[
            OpenApiParameter("user", str), OpenApiParameter("conversation", str),
            OpenApiParameter("bundle", int, description="0 leaves the document out; fetch it once by digest."),
        ],
        responses={200: dict, 304: None},
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> HttpResponse:
        if request.auth.agent.slug != slug:
            raise NotPermittedError(f"This key belongs to agent {request.auth.agent.slug!r}, not to {slug!r}.")
        query = request.query_params
        found = resolve(
            slug, user=query.get("user", ""), conversation=query.get("conversation", ""),
            pin=request.headers.get("Whetstone-Pin", query.get("pin", "")),
        )  # fmt: skip
        headers = {"ETag": found.etag, "Cache-Control": "private, max-age=0", "Vary": "Authorization"}
        if request.headers.get("If-None-Match") == found.etag:
            return HttpResponse(status=304, headers=headers)
        answer = found.encoded(with_document=query.get("bundle") != "0")
        return HttpResponse(answer, content_type="application/json", headers=headers)


class BundleView(APIView):
    """`GET /harnesses/{digest}`: the immutable document of one version."""

    authentication_classes = (CachedKeyAuthentication,)
    permission_classes = (_MayRead,)

    @extend_schema(responses={200: dict})
    def get(self, request: Request, digest: str) -> HttpResponse:
        version = get_object_or_404(HarnessVersion, agent_id=request.auth.agent_id, digest=digest)
        headers = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return HttpResponse(status=304, headers=headers)
        return HttpResponse(bytes(version.body), content_type="application/json", headers=headers)


class UserStateView(APIView):
    """`/agents/{agent}/users/{user}/state`: one user's own layer; writes are conditional by `If-Match`."""

    def _agent(self, request: Request, slug: str, *, write: bool) -> tuple[Agent, Actor]:
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug)
        if actor.agent_id is not None:
            if "state:write" not in (actor.scopes or ()) and write:
                raise NotPermittedError("This key lacks the scope 'state:write'.")
        else:
            require(actor, Permission.EDIT_USER_STATE if write else Permission.VIEW, agent.access_scope(), act="read user state")
        return agent, actor

    @extend_schema(responses=UserStateDetail)
    def get(self, request: Request, slug: str, subject: str) -> Response:
        agent, _ = self._agent(request, slug, write=False)
        state = get_object_or_404(UserState, agent=agent, subject=subject)
        return self._shown(state)

    @extend_schema(request=UserStateWrite, responses=UserStateDetail)
    def put(self, request: Request, slug: str, subject: str) -> Response:
        agent, actor = self._agent(request, slug, write=True)
        body = UserStateWrite(data=request.data)
        body.is_valid(raise_exception=True)
        return self._write(request, agent, subject, body.validated_data["overlay"], actor, body.validated_data["reason"])

    @extend_schema(request=UserStateWrite, responses=UserStateDetail)
    def patch(self, request: Request, slug: str, subject: str) -> Response:
        """Merge into the overlay as RFC 7396 says: `null` removes."""
        agent, actor = self._agent(request, slug, write=True)
        body = UserStateWrite(data=request.data)
        body.is_valid(raise_exception=True)
        state = UserState.objects.filter(agent=agent, subject=subject).first()
        merged = _merged(state.overlay if state else {}, body.validated_data["overlay"])
        return self._write(request, agent, subject, merged, actor, body.validated_data["reason"])

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, subject: str) -> Response:
        agent, actor = self._agent(request, slug, write=True)
        state = get_object_or_404(UserState, agent=agent, subject=subject)
        state.erase(by=actor, reason="erased over REST")
        return Response(status=204)

    def _write(
        self, request: Request, agent: Agent, subject: str, overlay: dict[str, Any], actor: Actor, reason: str
    ) -> Response:
        if_match = request.headers.get("If-Match")
        if if_match is None and request.headers.get("If-None-Match") == "*":
            if_match = ""
        state = UserState.write(
            agent=agent, subject=subject, overlay=overlay, by=actor, reason=reason or "written over REST", if_match=if_match
        )
        return self._shown(state)

    @staticmethod
    def _shown(state: UserState) -> Response:
        return Response(UserStateDetail(state).data, headers={"ETag": state.etag})


def _merged(base: Any, change: Any) -> Any:
    """Return the JSON merge patch of `change` onto `base` (RFC 7396)."""
    if not isinstance(change, dict):
        return change
    result = dict(base) if isinstance(base, dict) else {}
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result

