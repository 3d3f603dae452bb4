"""Which harness does this user get? Decided from the snapshot alone; only a user's own layer costs a query."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
from django.conf import settings
from django.db import DatabaseError, connection

from harness.canonical import canonical_bytes, sha256_hex
from harness.documents import overlay_document
from harness.models import HarnessVersion
from releases import pins, snapshot
from releases.bucketing import Arm, arm
from releases.exceptions import NothingStableError
from releases.exposures import Served, note
from releases.models import UserState
from releases.snapshot import AgentView, Ramp, Version

__all__ = ["Resolution", "bundle", "resolve", "still_serves"]

TTL_S: Final = 2.0
"""How long a client may go on without asking: a rollback reaches it within this."""
STALE_OK_S: Final = 3600.0
STALE_CANARY_OK_S: Final = 30.0
PIN_MAX_AGE_S: Final = 86_400
_MAX_CACHED = 20_000


@dataclass(frozen=True, slots=True)
class Resolution:
    """The harness of one turn and why it is this one. `body` is the document as canonical bytes."""

    agent: str
    version: int
    digest: str
    resolved_digest: str
    body: bytes
    release: str | None
    arm: str | None
    weight: float | None
    reason: str
    pin: str | None
    ttl_s: float
    stale_ok_s: float
    state: str
    age_s: float

    @property
    def etag(self) -> str:
        """The strong validator: what is served, and as whose arm."""
        named = f"{self.resolved_digest}|{self.release}|{self.arm}|{self.weight}"
        return f'"{hashlib.sha256(named.encode()).hexdigest()[:32]}"'

    def facts(self) -> dict[str, Any]:
        """Return everything but the document as plain JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "body"}

    def as_json(self) -> dict[str, Any]:
        return {"document": orjson.loads(self.body), **self.facts()}

    def encoded(self, *, with_document: bool = True) -> bytes:
        """Return the answer's bytes; the document is put in as it is stored, without being parsed."""
        facts = orjson.dumps(self.facts())
        return b'{"document":' + self.body + b"," + facts[1:] if with_document else facts


@dataclass(frozen=True, slots=True)
class _Choice:
    """A version, the draw it comes from (if any), and every draw that serving it takes part in."""

    version: Version
    reason: str
    draw: Served | None = None
    draws: tuple[Served, ...] = ()
    pin: str | None = None


def resolve(agent: str, user: str = "", conversation: str = "", pin: str = "", *, served: bool = True) -> Resolution:
    """Return what `user` of the agent with slug `agent` is served now.

    A pin keeps a conversation on the version it began with, unless that version was rolled back. Without a user the
    stable version is served. With `served` the draw is noted as an exposure; look without it.
    Raises `NothingStableError` for an agent that is unknown or serves nothing, `UnavailableError` when the database is
    silent and nothing was read before.
    """
    known = snapshot.current()
    view = known.agents.get(agent)
    if view is None or view.stable is None:
        raise NothingStableError(f"Agent {agent!r} has no stable version to serve: bootstrap it first.")
    choice = _choose(view, view.stable, user, conversation, pin)
    if served and user:
        for taken in choice.draws:
            note(user, taken)
    body, resolved_digest, is_whole = _with_own_layer(view, choice.version, user, known.revision)
    is_silent, age_s = snapshot.is_unavailable()
    draw = choice.draw
    return Resolution(
        agent=view.slug, version=choice.version.number, digest=choice.version.digest, resolved_digest=resolved_digest,
        body=body, release=draw.release if draw else None, arm=draw.arm if draw else None,
        weight=draw.weight if draw else None, reason=choice.reason,
        pin=choice.pin or _pin(view, choice, conversation), ttl_s=TTL_S,
        stale_ok_s=STALE_CANARY_OK_S if draw and draw.arm == Arm.CANARY and view.ramp else STALE_OK_S,
        state="unavailable" if is_silent or not is_whole else "current", age_s=round(age_s, 3) if is_silent else 0.0,
    )  # fmt: skip


def still_serves(agent: str, digest: str, user: str) -> bool:
    """Return whether serving, read anew, hands out the version `digest`: as stable, in a ramp, or to `user`."""
    view = snapshot.refresh().agents[agent]
    offered = {
        view.stable,
        *(one for ramp in (view.ramp, view.aftermath) if ramp for one in (ramp.version, ramp.baseline)),
    }
    if digest not in {version.digest for version in offered if version}:
        return False
    return resolve(agent, user, served=False).digest == digest or view.stable is None or view.stable.digest == digest


def bundle(agent_ids: frozenset[UUID], digest: str) -> bytes | None:
    """Return the canonical bytes of a version of one of the agents, or None; bytes never change under their digest."""
    for view in snapshot.current().agents.values():
        if view.id in agent_ids:
            for version in _versions(view):
                if version.digest == digest:
                    return version.body
    stored = HarnessVersion.objects.filter(agent_id__in=agent_ids, digest=digest).values_list("body", flat=True).first()
    return None if stored is None else bytes(stored)


def _choose(view: AgentView, stable: Version, user: str, conversation: str, token: str) -> _Choice:
    refused = ""
    if token and conversation:
        pinned = pins.read(
            token, settings.SECRET_KEY.encode(), agent=view.slug, conversation=conversation,
            now=int(datetime.now(UTC).timestamp()), max_age_s=PIN_MAX_AGE_S,
        )  # fmt: skip
        if isinstance(pinned, pins.Pin):
            return _keep(view, stable, pinned, token)
        refused = f"; pin {pinned.code.value}"
    if not user:
        return _Choice(stable, "stable: no user named" + refused)
    watched, ramp = _drawn(view.aftermath, user), _drawn(view.ramp, user)
    if view.aftermath and watched and watched.arm == Arm.CONTROL:
        return _Choice(view.aftermath.baseline, "held out of the promoted release" + refused, watched, (watched,))
    if view.ramp and ramp:
        version = view.ramp.version if ramp.arm == Arm.CANARY else stable
        return _Choice(
            version, f"{ramp.arm} of the live release" + refused, ramp, tuple(one for one in (watched, ramp) if one)
        )
    if watched:
        return _Choice(stable, "stable: promoted, still watched" + refused, watched, (watched,))
    return _Choice(stable, "stable" + refused)


def _drawn(ramp: Ramp | None, user: str) -> Served | None:
    return Served(ramp.id, ramp.stage, arm(ramp.salt, user, ramp.weight).value, ramp.weight) if ramp else None


def _keep(view: AgentView, stable: Version, pinned: pins.Pin, token: str) -> _Choice:
    """Serve what the conversation began with. Who was a canary of a withdrawn release gets the stable version."""
    if pinned.release in view.withdrawn and pinned.arm == Arm.CANARY:
        return _Choice(stable, "stable: the pinned release was rolled back")
    version = next((one for one in _versions(view) if one.digest == pinned.digest), None) or _stored(
        view, pinned.digest
    )
    if version is None:
        return _Choice(stable, "stable: the pinned version cannot be read")
    if pinned.release is None or pinned.arm is None or pinned.stage is None:
        return _Choice(version, "pinned", pin=token)
    draw = Served(pinned.release, pinned.stage, pinned.arm.value, pinned.weight)
    is_live = pinned.release in {ramp.id for ramp in (view.ramp, view.aftermath) if ramp}
    return _Choice(version, "pinned", draw, (draw,) if is_live else (), pin=token)


def _versions(view: AgentView) -> tuple[Version, ...]:
    ramps = [one for ramp in (view.ramp, view.aftermath) if ramp for one in (ramp.version, ramp.baseline)]
    return tuple(one for one in (view.stable, *ramps) if one)


def _stored(view: AgentView, digest: str) -> Version | None:
    """Read an older version that a conversation still holds on to; None while the database is silent."""
    try:
        row = HarnessVersion.objects.filter(agent_id=view.id, digest=digest).values_list("number", "body").first()
    except (DatabaseError, psycopg.Error):
        _let_go()
        return None
    return Version(row[0], digest, bytes(row[1])) if row else None


def _pin(view: AgentView, choice: _Choice, conversation: str) -> str | None:
    if not conversation:
        return None
    draw = choice.draw
    return pins.sign(
        pins.Pin(
            agent=view.slug, conversation=conversation, version=choice.version.number, digest=choice.version.digest,
            issued_at=int(datetime.now(UTC).timestamp()), release=draw.release if draw else None,
            arm=Arm(draw.arm) if draw else None, weight=draw.weight if draw else 0.0, stage=draw.stage if draw else None,
        ),
        settings.SECRET_KEY.encode(),
    )  # fmt: skip


_layers: OrderedDict[tuple[UUID, str, str, int], tuple[bytes, str]] = OrderedDict()
_layers_lock = threading.Lock()


def _with_own_layer(view: AgentView, version: Version, user: str, revision: int) -> tuple[bytes, str, bool]:
    """Return document bytes and digest for this user, and whether they are whole (the layer could be read)."""
    if user not in view.subjects:
        return version.body, version.digest, True
    key = (view.id, user, version.digest, revision)
    with _layers_lock:
        cached = _layers.get(key)
    # A snapshot read at every call has no revision that could vouch for the layer.
    if cached is not None and settings.SERVING_POLL_S > 0:
        return (*cached, True)
    try:
        overlay = UserState.objects.filter(agent_id=view.id, subject=user).values_list("overlay", flat=True).first()
    except (DatabaseError, psycopg.Error):
        _let_go()
        return version.body, version.digest, False
    body = canonical_bytes(overlay_document(orjson.loads(version.body), overlay)) if overlay else version.body
    made = (body, sha256_hex(body))
    with _layers_lock:
        _layers[key] = made
        while len(_layers) > _MAX_CACHED:
            _layers.popitem(last=False)
    return (*made, True)


def _let_go() -> None:
    if not connection.in_atomic_block:
        connection.close()
