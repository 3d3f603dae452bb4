"""Captured episodes enter the record as one Merkle root a minute, so that none can be changed or lost unseen."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.acting import MACHINE
from audit.chain import Finding, merkle_root
from audit.models import Event
from audit.record import record
from episodes.completeness import enter_captured
from episodes.content import names_content
from episodes.models import Episode, EpisodeAmendment

__all__ = ["commit_waiting", "root_of", "verify_committed"]

_EPISODES_PER_ROOT = 10_000


def root_of(body_digests: Iterable[str]) -> str:
    """Return the Merkle root (RFC 6962) over the digests of episodes in the order of their ids."""
    return merkle_root([bytes.fromhex(digest) for digest in body_digests])


@transaction.atomic
def commit_waiting(limit: int = _EPISODES_PER_ROOT) -> int:
    """Record the root over episodes that are in no root yet; return how many it covers.

    The event names count, first and last id and the time that its episodes carry as `committed_at`, from which the
    same root can be computed again. Two callers take different episodes; an unfinished call leaves nothing.
    """
    waiting = Episode.objects.filter(committed_at__isnull=True).order_by("id")
    rows = waiting.select_for_update(skip_locked=True, of=("self",), no_key=True)
    taken = list(rows.values_list("pk", "body_digest", "agent_id")[:limit])
    if not taken:
        return 0
    now = timezone.now()
    keys = [key for key, _, _ in taken]
    record(
        "episodes.captured",
        f"episodes.episode:{keys[0]}..{keys[-1]}",
        digest=root_of(digest for _, digest, _ in taken),
        actor=MACHINE,
        facts={"count": len(keys), "first": str(keys[0]), "last": str(keys[-1]), "committed_at": now.isoformat()},
    )
    Episode.objects.filter(pk__in=keys).update(committed_at=now)
    # An amended episode enters the record once more, but was captured once.
    amended = EpisodeAmendment.objects.filter(episode__in=keys, previous_committed_at__isnull=False)
    again = set(amended.values_list("episode_id", flat=True))
    enter_captured(Counter(agent_id for key, _, agent_id in taken if key not in again))
    return len(keys)


def verify_committed() -> Iterator[Finding]:
    """Yield every root that the episodes it covers no longer give, and every episode that is not what its digest says.

    A finding names the sequence number of the root's event.
    """
    for event in Event.objects.filter(action="episodes.captured", seal__isnull=False).order_by("seal__seq"):
        seq, problem = event.seal.seq, ""
        committed_at = datetime.fromisoformat(event.facts["committed_at"])
        leaves: list[tuple[UUID, str]] = []
        # Ids are ordered by time: the range finds the rows by the primary key.
        ends = (UUID(event.facts["first"]), UUID(event.facts["last"]))
        rows = Episode.objects.filter(pk__range=ends, committed_at=committed_at).select_related("conversation")
        for row in rows.order_by("id").defer("conversation__embedding").iterator(chunk_size=500):
            leaves.append((row.pk, row.body_digest))
            if not names_content(row.body_digest, row.content()):
                yield Finding(seq, f"episode {row.pk} ({row.external_id}) is not what its digest names")
        replaced = EpisodeAmendment.objects.filter(previous_committed_at=committed_at)
        leaves += replaced.values_list("episode_id", "previous_digest")
        if len(leaves) != event.facts["count"]:
            problem = f"it covers {event.facts['count']} episodes, {len(leaves)} are there"
        elif root_of(digest for _, digest in sorted(leaves)) != event.digest:
            problem = "its episodes do not give its root"
        if problem:
            yield Finding(seq, f"event {event.pk} (episodes.captured): {problem}")
