"""Bearer keys for the API. Imports no view, so that settings can name it (DRF loads it while views are loading)."""

import hashlib
import time
from datetime import timedelta
from typing import Any, NamedTuple

from django.http import Http404
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.acting import NOBODY, Actor
from accounts.models import User
from harness.models import Agent, ApiKey, Revision

__all__ = ["ApiKeyAuthentication", "RememberedKeyAuthentication", "actor_of", "remembered_key", "reporting_agent"]

_LAST_USED_GRAIN = timedelta(minutes=5)
_KEPT_KEYS = 10_000
_KEPT_S = 30.0


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer wsk_…`. The request's user is the key's owner, `request.auth` the key."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        header = get_authorization_header(request).split()
        if len(header) != 2 or header[0].lower() != b"bearer":
            return None
        key = self.key_behind(header[1].decode("ascii", "replace"))
        if key is None:
            raise AuthenticationFailed("The key is unknown, expired or revoked. Issue a new one.")
        return key.owner, key

    def key_behind(self, presented: str) -> ApiKey | None:
        """Return the live key that is presented, `None` where there is none."""
        return _read(presented)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="whetstone"'


class RememberedKeyAuthentication(ApiKeyAuthentication):
    """The key's authentication for what agents send often: a remembered key costs one small look at the revision."""

    def key_behind(self, presented: str) -> ApiKey | None:
        return remembered_key(presented, Revision.current())


def _read(presented: str) -> ApiKey | None:
    key = ApiKey.authenticate(presented)
    now = timezone.now()
    if key is not None and (key.last_used_at is None or now - key.last_used_at > _LAST_USED_GRAIN):
        ApiKey._base_manager.filter(pk=key.pk).update(last_used_at=now)  # a meter, not governed
    return key


class _Remembered(NamedTuple):
    """A key with its owner, agent and policy as they were read no earlier than at `revision`."""

    key: ApiKey
    revision: int
    read_at: float


_remembered: dict[str, _Remembered] = {}


def remembered_key(presented: str, revision: int, *, is_silent: bool = False) -> ApiKey | None:
    """Return the live key behind `presented` as `ApiKey.authenticate` does, read again when the revision moved.

    Revoking a key, deactivating its owner and putting a policy in force move the revision; whatever else changes is
    found out within half a minute. While the database `is_silent`, a key that this process knew and has not refused since
    stays known.
    The key is shared with other requests: nobody may change it.
    """
    mark = hashlib.sha256(presented.encode()).hexdigest()
    kept = _remembered.get(mark)
    if kept is not None and not _is_over(kept.key):
        is_fresh = kept.revision == revision and time.monotonic() - kept.read_at < _KEPT_S
        if is_fresh or is_silent:
            return kept.key
    key = _read(presented)
    if key is None:
        _remembered.pop(mark, None)  # what was refused once must not come back while the database is silent
    else:
        if len(_remembered) >= _KEPT_KEYS:
            _remembered.clear()
        _remembered[mark] = _Remembered(key, revision, time.monotonic())
    return key


def _is_over(key: ApiKey) -> bool:
    return key.expires_at is not None and key.expires_at.timestamp() <= time.time()


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
