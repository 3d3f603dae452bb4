"""Makes episodes of traces that have fallen quiet, and amends those whose late spans came after."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import batched
from typing import Any
from uuid import UUID

import orjson
from django.utils import timezone

from accounts.acting import MACHINE
from accounts.exceptions import DomainError
from episodes.amending import amend
from episodes.capture import MAX_EPISODES, capture
from episodes.door import PlainItems
from episodes.judging import report_outcome
from episodes.locks import in_one_piece
from episodes.models import Conversation, Episode, Outcome, Trace, TraceFragment
from episodes.otlp.assembly import Assembled, episodes_of
from episodes.otlp.spans import load_fragment
from episodes.tracing import SILENCE_S
from harness.canonical import UnsureError, plain_json
from harness.models import Agent

__all__ = ["assemble_due"]

logger = logging.getLogger("episodes")

_BATCH = 200
# What an odd record makes of code that reads it. All else (database, memory, a stopped worker) is not its fault.
_ODDITIES = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def assemble_due(*, batch: int = _BATCH) -> int:
    """Make episodes of every trace that is due; return how many traces were looked at.

    Each batch is one transaction, so a killed worker leaves its traces due. Records that come meanwhile make their
    trace due again.
    """
    total = 0
    while taken := in_one_piece(partial(_assemble_batch, batch)):
        total += taken
    return total


def _assemble_batch(batch: int) -> int:
    due = Trace.objects.due().select_for_update(skip_locked=True, of=("self",), no_key=True)
    traces = list(due.select_related("agent__policy").order_by("due_at")[:batch])
    by_agent: dict[UUID, list[Trace]] = defaultdict(list)
    for trace in traces:
        by_agent[trace.agent_id].append(trace)
    for _, own in sorted(by_agent.items()):
        _assemble(own[0].agent, own)
    Trace.objects.bulk_update(traces, ["due_at", "error", "refused_at"], batch_size=batch)
    return len(traces)


def _assemble(agent: Agent, traces: Sequence[Trace]) -> None:
    bodies: dict[str, list[bytes]] = defaultdict(list)
    names = [trace.trace_id for trace in traces]
    for name, body in TraceFragment.objects.filter(agent=agent, trace_id__in=names).values_list("trace_id", "body"):
        bodies[name].append(bytes(body))
    ready: list[Assembled] = []
    now = timezone.now()
    for trace in traces:
        trace.due_at, trace.error = None, ""
        silent_from = trace.last_at + timedelta(seconds=SILENCE_S)
        try:
            found = _episodes(bodies[trace.trace_id])
        except _ODDITIES as error:  # one trace must not hold up the others
            logger.exception("trace.unassembled", extra={"trace": trace.trace_id})
            trace.error = f"{type(error).__name__}: {error}"[:500]
            continue
        if all(one.is_closed for one in found) or now >= silent_from:
            ready += found
        else:
            trace.due_at = silent_from
    errors = _write(agent, ready)
    for trace in traces:
        trace.error = trace.error or errors.get(trace.trace_id, "")[:500]
        trace.refused_at = now if trace.error else None


def _episodes(fragments: Iterable[bytes]) -> list[Assembled]:
    spans, logs = [], []
    for fragment in fragments:
        some_spans, some_logs = load_fragment(fragment)
        spans += some_spans
        logs += some_logs
    return episodes_of(spans, logs)


def _write(agent: Agent, found: Sequence[Assembled]) -> dict[str, str]:
    """Capture what is new and amend what is known; return by trace why an episode was refused."""
    errors: dict[str, str] = {}
    items = {one.item["id"]: one for one in found}
    _hold_known(agent, items)
    for some in batched(found, MAX_EPISODES, strict=False):
        for rejection in capture(agent, _plain_items(some)).rejected:
            why = rejection.reason
            if rejection.code == "already_captured":
                why = amend(agent, items[rejection.id].item, reason="late spans of its trace")
            if why:
                errors[rejection.id.partition(":")[0]] = why
    for one in found:
        if one.outcome is not None:
            try:
                _report(agent, one)
            except DomainError as refusal:  # one trace must not hold up the others
                errors[one.item["id"].partition(":")[0]] = str(refusal)
    return errors


def _hold_known(agent: Agent, items: Mapping[str, Assembled]) -> None:
    """Lock the episodes that late spans may amend, then the talks they are in or come into: analysis has this order."""
    known = Episode.objects.filter(agent=agent, external_id__in=items).select_for_update(of=("self",), no_key=True)
    rows = list(known.order_by("id").values_list("external_id", "conversation__external_id"))
    if rows:
        names = {talk for _, talk in rows} | {one.item.get("conversation", name) for name, one in items.items()}
        talks = Conversation.objects.filter(agent=agent, external_id__in=names).order_by("external_id")
        list(talks.select_for_update(of=("self",), no_key=True).values_list("pk"))


def _plain_items(found: Sequence[Assembled]) -> list[Any]:
    """Return the items, seen to be plain JSON where a quick look can tell; writing them out is quicker than a walk."""
    items = [one.item for one in found]
    try:
        return PlainItems(plain_json(orjson.dumps(items)))
    except (UnsureError, TypeError):
        return items


def _report(agent: Agent, one: Assembled) -> None:
    assert one.outcome is not None
    episode = Episode.objects.select_related("agent").filter(agent=agent, external_id=one.item["id"]).first()
    if episode is None:
        return
    at = episode.ended_at or episode.started_at
    report_outcome(
        episode, name=one.outcome.name, source=Outcome.Source.AGENT, by=MACHINE, at=at, reason=one.outcome.reason
    )
