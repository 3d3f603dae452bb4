"""What agents fetch: the resolved harness, immutable bundles, and each user's own layer."""

from collections.abc import Mapping
from typing import Any, cast

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import permissions, status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.acting import Actor
from accounts.exceptions import NotPermittedError
from accounts.roles import Permission
from harness.authentication import ApiKeyAuthentication, actor_of, remembered_key
from harness.models import Agent, ApiKey
from releases import snapshot
from releases.api.serializers import UserStateDetail, UserStateWrite
from releases.models import UserState
from releases.serving import bundle, resolve

__all__ = ["BundleView", "CachedKeyAuthentication", "HarnessView", "UserStateView"]

_MAX_ID = 200


class CachedKeyAuthentication(ApiKeyAuthentication):
    """The key's authentication as of the snapshot that is served, without asking the database."""

    def key_behind(self, presented: str) -> ApiKey | None:
        revision = snapshot.current().revision
        is_silent, _ = snapshot.is_unavailable()
        return remembered_key(presented, revision, is_silent=is_silent)


class MayFetch(permissions.BasePermission):
    """An agent's own key with the scope `harness:read`."""

    message = "This needs an agent's key with the scope 'harness:read'."

    def has_permission(self, request: Request, view: APIView) -> bool:
        key = request.auth
        return isinstance(key, ApiKey) and key.agent_id is not None and "harness:read" in key.scopes


class HarnessView(APIView):
    """`GET /agents/{agent}/harness`: my current harness, for this user."""

    authentication_classes = (CachedKeyAuthentication,)
    permission_classes = (MayFetch,)

    @extend_schema(
        parameters=[
            OpenApiParameter("user", str, description="The agent's end user; without one the stable version is served."),
            OpenApiParameter("conversation", str, description="Names what a pin is for."),
            OpenApiParameter("bundle", int, description="0 leaves the document out; fetch it once by its digest."),
            OpenApiParameter("Whetstone-Pin", str, OpenApiParameter.HEADER, description="The last answer's pin."),
        ],
        responses={(200, "application/json"): dict, 304: None},
        auth=[{"apiKey": []}],  # type: ignore[list-item]  # the schema wants security requirements, the hint says names
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> HttpResponse:
        """Return what this user is served now, with the digest that was judged and the pin that keeps it."""
        key = cast("ApiKey", request.auth)
        view = snapshot.current().agents.get(slug)
        if view is None or view.id != key.agent_id:
            raise NotFound("This key serves another agent.")
        query = request.query_params
        user, conversation = (_id(query, name) for name in ("user", "conversation"))
        found = resolve(slug, user, conversation, request.headers.get("Whetstone-Pin", query.get("pin", "")))
        # A pin differs at every fetch while the harness does not: it travels beside what is validated.
        headers = {"ETag": found.etag, "Cache-Control": "private, no-cache"} | (
            {"Whetstone-Pin": found.pin} if found.pin else {}
        )
        if found.etag in _tags(request):
            return HttpResponse(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
        answer = found.encoded(with_document=query.get("bundle") != "0")
        return HttpResponse(answer, content_type="application/json", headers=headers)


class BundleView(APIView):
    """`GET /harnesses/{digest}`: the immutable document of one version, as the canonical bytes its digest is of."""

    authentication_classes = (CachedKeyAuthentication,)
    permission_classes = (MayFetch,)

    @extend_schema(responses={(200, "application/json"): dict, 304: None}, auth=[{"apiKey": []}])  # type: ignore[list-item]  # as above
    def get(self, request: Request, digest: str) -> HttpResponse:
        """Return the version's bytes; they never change under this address."""
        key = cast("ApiKey", request.auth)
        assert key.agent_id is not None  # the permission demands an agent's key
        body = bundle(frozenset({key.agent_id}), digest)
        if body is None:
            raise NotFound("This agent has no version with that digest.")
        headers = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
        if headers["ETag"] in _tags(request):
            return HttpResponse(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return HttpResponse(body, content_type="application/json", headers=headers)


def _tags(request: Request) -> list[str]:
    return [tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")]


def _id(query: Mapping[str, str], name: str) -> str:
    value = query.get(name, "")
    if len(value) > _MAX_ID or "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValidationError({name: f"An id has at most {_MAX_ID} characters of valid text without NUL."})
    return value


class UserStateView(APIView):
    """`/agents/{agent}/users/{user}/state`: one user's own layer; writes are conditional by `If-Match`."""

    def _agent(self, request: Request, slug: str) -> tuple[Agent, Actor]:
        actor = actor_of(request)
        agent = get_object_or_404(Agent.objects.visible_to(actor), slug=slug)
        if actor.agent_id is None:
            require(actor, Permission.EDIT_USER_STATE, agent.access_scope(), act="read or write user state")
        elif "state:write" not in (actor.scopes or ()):
            raise NotPermittedError("This key lacks the scope 'state:write'; issue one that has it.")
        return agent, actor

    @extend_schema(responses=UserStateDetail)
    def get(self, request: Request, slug: str, subject: str) -> Response:
        agent, _ = self._agent(request, slug)
        return self._shown(get_object_or_404(UserState, agent=agent, subject=subject))

    @extend_schema(request=UserStateWrite, responses=UserStateDetail)
    def put(self, request: Request, slug: str, subject: str) -> Response:
        """Replace the user's layer."""
        agent, actor = self._agent(request, slug)
        overlay, reason = self._body(request)
        return self._write(request, agent, subject, overlay, actor, reason)

    @extend_schema(request=UserStateWrite, responses=UserStateDetail)
    def patch(self, request: Request, slug: str, subject: str) -> Response:
        """Merge into the user's layer as RFC 7396 says: `null` removes."""
        agent, actor = self._agent(request, slug)
        change, reason = self._body(request)
        state = UserState.objects.filter(agent=agent, subject=subject).first()
        merged = _merged(state.overlay if state else {}, change)
        # Without a condition of the caller's, the merge still holds only for the layer it was made on.
        return self._write(request, agent, subject, merged, actor, reason, seen=state.etag if state else "")

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, subject: str) -> Response:
        agent, actor = self._agent(request, slug)
        state = get_object_or_404(UserState, agent=agent, subject=subject)
        state.erase(by=actor, reason="erased over REST", if_match=request.headers.get("If-Match"))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _body(self, request: Request) -> tuple[dict[str, Any], str]:
        body = UserStateWrite(data=request.data)
        body.is_valid(raise_exception=True)
        return body.validated_data["overlay"], body.validated_data["reason"] or "written over REST"

    def _write(
        self, request: Request, agent: Agent, subject: str, overlay: dict[str, Any], actor: Actor, reason: str,
        *, seen: str | None = None,
    ) -> Response:  # fmt: skip
        if_match = request.headers.get("If-Match", seen)
        if request.headers.get("If-None-Match") == "*":
            if_match = ""
        state = UserState.write(
            agent=agent, subject=subject, overlay=overlay, by=actor, reason=reason, if_match=if_match
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
