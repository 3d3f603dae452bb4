"""Whose conversations a later ramp decided: they say nothing about the release that is still watched.

While the aftermath of one release is open, the next one ramps up among its users. A conversation served by the later
canary is left out in both arms of the earlier one, by a criterion fixed before anything happened: the place of the user
under the later release's salt. It is known of held-out users too, whom the later ramp never served.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Min

from releases.bucketing import bucket
from releases.models import Exposure, Release
from releases.serving import STALE_CANARY_OK_S

__all__ = ["Crossing", "crossing"]

# How long an agent may go on serving a withdrawn canary that it cannot ask about.
_LINGERS = timedelta(seconds=STALE_CANARY_OK_S)


@dataclass(frozen=True)
class _Ramp:
    salt: str
    weights: tuple[tuple[datetime, float], ...]
    ended_at: datetime | None

    def weight_within(self, since: datetime, until: datetime) -> float:
        if self.ended_at is not None and since > self.ended_at + _LINGERS:
            return 0.0
        return max((weight for at, weight in self.weights if at <= until), default=0.0)


@dataclass(frozen=True)
class Crossing:
    """The ramps that began after a release did."""

    ramps: tuple[_Ramp, ...] = ()

    def took(self, user: str, since: datetime, until: datetime) -> bool:
        """Return whether ``user`` belonged to a later canary at any time between the two."""
        return any(bucket(ramp.salt, user) < ramp.weight_within(since, until) for ramp in self.ramps)


def crossing(release: Release) -> Crossing:
    """Return the ramps that began while or after ``release`` was promoted, with the moments their weights were served.

    The moments are those of the first exposures, so that what was read once is read again.
    """
    if release.promoted_at is None:
        return Crossing()
    later = Release.objects.filter(agent_id=release.agent_id, started_at__gt=release.promoted_at)
    rows = dict(later.values_list("pk", "salt"))
    ends: dict[UUID, datetime | None] = dict(later.filter(status="rolled_back").values_list("pk", "ended_at"))
    first: dict[UUID, list[tuple[datetime, float]]] = defaultdict(list)
    served = Exposure.objects.filter(release_id__in=rows).order_by().values("release_id", "weight")
    for one in served.annotate(at=Min("served_at")):
        first[one["release_id"]].append((one["at"], one["weight"]))
    return Crossing(tuple(_Ramp(salt, tuple(first[pk]), ends.get(pk)) for pk, salt in rows.items()))
