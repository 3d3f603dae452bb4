"""Captured episodes enter the record as one Merkle root a minute, so that none can be changed or lost unseen."""

from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from accounts.acting import MACHINE
from audit.chain import merkle_root
from audit.record import record
from episodes.models import Episode

__all__ = ["commit_waiting", "root_of"]

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
    rows = waiting.select_for_update(skip_locked=True, of=("self",), no_key=True).values_list("pk", "body_digest")[
        :limit
    ]
    taken = list(rows)
    if not taken:
        return 0
    now = timezone.now()
    keys = [key for key, _ in taken]
    record(
        "episodes.captured",
        f"episodes.episode:{keys[0]}..{keys[-1]}",
        digest=root_of(digest for _, digest in taken),
        actor=MACHINE,
        facts={"count": len(keys), "first": str(keys[0]), "last": str(keys[-1]), "committed_at": now.isoformat()},
    )
    Episode.objects.filter(pk__in=keys).update(committed_at=now)
    return len(keys)
