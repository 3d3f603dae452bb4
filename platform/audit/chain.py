"""The chain over the record: pure hashing, sealing under one lock, and verification that names the broken number."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import batched
from typing import Any

import rfc8785
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from audit.models import Event, Seal

__all__ = [
    "GENESIS", "ChainStatus", "Finding", "link", "merkle_root", "seal_events", "status", "verify_chain",
    "verify_elsewhere", "verify_head",
]  # fmt: skip

GENESIS = "0" * 64
_LOCK = 0x57_48_45_54  # advisory lock of the one sealer


@dataclass(frozen=True)
class Finding:
    """One place where the record does not hold: the sequence number, where there is one, and what is wrong there."""

    seq: int | None
    problem: str


@dataclass(frozen=True)
class ChainStatus:
    """How far the chain reaches, and what still waits outside of it."""

    sealed: int
    head: str
    unsealed: int
    oldest_unsealed_age_s: float


def link(previous_hash: str, event: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 over the previous hash and the RFC 8785 form of `event`."""
    return hashlib.sha256(bytes.fromhex(previous_hash) + rfc8785.dumps(dict(event))).hexdigest()


def merkle_root(leaves: Sequence[bytes]) -> str:
    """Return the hex root of the Merkle tree over `leaves` (RFC 6962 §2.1: 0x00 before leaves, 0x01 before nodes)."""
    if not leaves:
        return hashlib.sha256(b"").hexdigest()
    level = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0].hex()


def seal_events(limit: int = 5_000) -> int:
    """Seal up to `limit` waiting events in the order of their ids; return how many.

    One transaction-level advisory lock makes the sequence gap-free whoever calls; a second caller returns 0 at once.
    An event that commits late is sealed later, so writers never wait for the chain.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
            if not cursor.fetchone()[0]:
                return 0
        last = Seal.objects.order_by("-seq").first()
        seq, head = (last.seq, last.hash) if last else (0, GENESIS)
        seals = []
        for event in Event.objects.unsealed().order_by("id")[:limit]:
            seq += 1
            hash_ = link(head, event.as_sealed())
            seals.append(Seal(seq=seq, event=event, previous_hash=head, hash=hash_))
            head = hash_
        Seal.objects.bulk_create(seals, batch_size=1_000)
        return len(seals)


def verify_chain(batch: int = 2_000) -> Iterator[Finding]:
    """Yield every place where the chain is broken, in the order of sequence numbers."""
    expected, head = 1, GENESIS
    for chunk in batched(Seal.objects.order_by("seq").iterator(chunk_size=batch), batch, strict=False):
        events = Event.objects.in_bulk([seal.event_id for seal in chunk])
        for seal in chunk:
            problem = _problem(seal, events.get(seal.event_id), expected, head)
            if problem:
                yield Finding(seal.seq, problem)
            expected, head = seal.seq + 1, seal.hash


def verify_head(seq: int, hash_: str) -> Iterator[Finding]:
    """Yield a finding unless the chain still has this seal, as it was noted outside of the database.

    Whoever cuts the newest events off together with their seals leaves a chain that is whole, only shorter.
    """
    seal = Seal.objects.filter(seq=seq).first()
    if seal is None:
        yield Finding(seq, f"this seal was noted outside, but the chain ends at {status().sealed}: its end was cut off")
    elif seal.hash != hash_:
        yield Finding(seq, f"its hash is {seal.hash}, but {hash_} was noted outside: the chain was written anew")


def verify_elsewhere() -> Iterator[Finding]:
    """Yield what the functions of `settings.AUDIT_VERIFICATIONS` find: higher floors compare their rows to the record."""
    for name in settings.AUDIT_VERIFICATIONS:
        yield from import_string(name)()


def _problem(seal: Seal, event: Event | None, expected: int, head: str) -> str:
    if seal.seq != expected:
        return f"sequence jumps from {expected - 1} to {seal.seq}: {seal.seq - expected} seals are missing"
    if seal.previous_hash != head:
        return "its previous hash is not the hash of the seal before it"
    if event is None:
        return f"its event {seal.event_id} is missing"
    if link(seal.previous_hash, event.as_sealed()) != seal.hash:
        return f"its event {event.pk} ({event.action} {event.object_ref}) was changed after sealing"
    return ""


def status() -> ChainStatus:
    """Return the head of the chain and its unsealed tail."""
    last = Seal.objects.order_by("-seq").first()
    waiting = Event.objects.unsealed().order_by("id")
    oldest = waiting.first()
    age = (timezone.now() - oldest.at) if oldest else timedelta()
    return ChainStatus(
        sealed=last.seq if last else 0,
        head=last.hash if last else GENESIS,
        unsealed=waiting.count(),
        oldest_unsealed_age_s=max(0.0, age.total_seconds()),
    )
