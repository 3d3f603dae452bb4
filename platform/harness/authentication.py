"""Bearer keys for the API. Imports no view, so that settings can name it (DRF loads it while views are loading)."""

from datetime import timedelta
from typing import Any

from django.http import Http404
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.acting import NOBODY, Actor
from accounts.models import User
from harness.models import Agent, ApiKey

__all__ = ["ApiKeyAuthentication", "actor_of", "reporting_agent"]

_LAST_USED_GRAIN = timedelta(minutes=5)


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer wsk_…`. The request's user is the key's owner, `request.auth` the key."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        header = get_authorization_header(request).split()
        if len(header) != 2 or header[0].lower() != b"bearer":
            return None
        key = ApiKey.authenticate(header[1].decode("ascii", "replace"))
        if key is None:
            raise AuthenticationFailed("The key is unknown, expired or revoked. Issue a new one.")
        now = timezone.now()
        if key.last_used_at is None or now - key.last_used_at > _LAST_USED_GRAIN:
            ApiKey._base_manager.filter(pk=key.pk).update(last_used_at=now)  # a meter, not governed
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="whetstone"'


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library is untyped here
    """How OpenAPI describes the key."""

    target_class = "harness.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "wsk_…"}


def actor_of(request: Request) -> Actor:
    """Return who makes this API request: the key where one was presented, else the signed-in person, else nobody."""
    if isinstance(request.auth, ApiKey):
        return request.auth.as_actor()
    return request.user.as_actor() if isinstance(request.user, User) else NOBODY


def reporting_agent(request: Request) -> Agent:
    """Return the agent whose own key makes this API request; it came with the key. Raise `Http404` where there is none."""
    agent = request.auth.agent if isinstance(request.auth, ApiKey) else None
    if agent is None:
        raise Http404
    return agent
