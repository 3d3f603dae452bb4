"""The harness one turn runs on, and how it was come by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from whetstone.attributes import baggage, span_attributes
from whetstone.frozen import FrozenDict, thaw

__all__ = ["Document", "Harness", "Served", "Source"]

type Document = Mapping[str, Any]
type Source = Literal["platform", "memory", "stale", "stable", "disk", "packaged", "none"]


@dataclass(frozen=True, slots=True)
class Served:
    """What the platform once answered: the document and why it was this one. Shared by all turns that run on it."""

    document: Document = field(default_factory=FrozenDict)
    version: int | None = None
    digest: str = ""
    resolved_digest: str = ""
    release: str | None = None
    arm: str | None = None
    weight: float | None = None
    reason: str = ""
    ttl_s: float = 0.0
    stale_ok_s: float = 0.0
    state: str = ""


class Harness(NamedTuple):
    """The harness of one turn; read-only, because all turns share the document.

    A tuple, because one is made at every turn and nothing else is made as fast.

    `source` says how it was come by: `platform` (just confirmed), `memory` (confirmed less than `ttl_s` ago), `stale`
    (longer ago; a newer one is being asked for in the background), `stable` (this user's own is unknown or a canary too
    old to go on with: the agent's last stable one), `disk` (the same, kept by an earlier process), `packaged` (shipped
    with the agent), `none` (there never was any: `document` is empty). `age_s` is the time since the platform last
    confirmed it, None where it never did. `pin` keeps a conversation on its version across processes.
    """

    served: Served
    source: Source
    age_s: float | None
    pin: str | None = None
    user: str = ""
    conversation: str = ""

    @property
    def document(self) -> Document:
        """The document to run on."""
        return self.served.document

    @property
    def version(self) -> int | None:
        """The agent's version number."""
        return self.served.version

    @property
    def digest(self) -> str:
        """The digest of the judged version."""
        return self.served.digest

    @property
    def resolved_digest(self) -> str:
        """The digest of the version with this user's own layer over it."""
        return self.served.resolved_digest

    @property
    def release(self) -> str | None:
        """The release this user takes part in."""
        return self.served.release

    @property
    def arm(self) -> str | None:
        """The arm of that release: `canary` or `control`."""
        return self.served.arm

    @property
    def weight(self) -> float | None:
        """The share of users on the canary, from 0 to 1."""
        return self.served.weight

    @property
    def reason(self) -> str:
        """Why it is this version, in the platform's words or, where it is silent, in ours."""
        return self.served.reason

    @property
    def ttl_s(self) -> float:
        """How long it may be used without asking again, in seconds."""
        return self.served.ttl_s

    @property
    def stale_ok_s(self) -> float:
        """How long it may be used while the platform is silent, in seconds."""
        return self.served.stale_ok_s

    @property
    def state(self) -> str:
        """The platform's word on its own data: `current` or `unavailable`."""
        return self.served.state

    def thaw(self) -> dict[str, Any]:
        """Return a copy of the document that may be changed."""
        copied: dict[str, Any] = thaw(self.document)
        return copied

    def reference(self) -> dict[str, Any]:
        """Return the fields by which an episode names the harness it ran on."""
        return {"harness_digest": self.digest, "release": self.release, "arm": self.arm, "weight": self.weight}

    def baggage(self, *, before: str = "") -> str:
        """Return the W3C `baggage` header that names this harness to the next process."""
        return baggage(self, before=before)

    def span_attributes(self) -> dict[str, str | float]:
        """Return the span attributes that name this harness."""
        return span_attributes(self)
