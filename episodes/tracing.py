"""Takes spans and log records in: durable before the answer, sorted by trace, and marked as due."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from django.db import connection, transaction

from accounts.ids import uuid7
from episodes.copying import copy_rows
from episodes.door import may_need_cuts, redacted
from episodes.models import TraceFragment
from episodes.otlp.assembly import is_root_present
from episodes.otlp.dialects.registry import is_telling_log
from episodes.otlp.spans import Log, Span, dump_fragment
from harness.models import Agent

__all__ = ["QUIET_S", "SILENCE_S", "receive"]

# A trace whose root has come waits briefly for stragglers of other processes; one without waits for its root.
QUIET_S = 3.0
SILENCE_S = 60.0

# The root may have come in an earlier request: then only stragglers are awaited again.
_MARK_DUE = """
INSERT INTO episodes_trace AS t (id, agent_id, trace_id, has_root, num_fragments, first_at, last_at, due_at, error)
SELECT v.id, %s, v.trace_id, v.has_root, 1, now(), now(),
  now() + make_interval(secs => CASE WHEN v.has_root THEN %s ELSE %s END), ''
FROM unnest(%s::uuid[], %s::text[], %s::boolean[]) AS v(id, trace_id, has_root)
ON CONFLICT (agent_id, trace_id) DO UPDATE SET
  has_root = t.has_root OR EXCLUDED.has_root, num_fragments = t.num_fragments + 1, last_at = now(), error = '', refused_at = NULL,
  due_at = now() + make_interval(secs => CASE WHEN t.has_root OR EXCLUDED.has_root THEN %s ELSE %s END)
"""


def receive(agent: Agent, spans: Iterable[Span], logs: Iterable[Log]) -> int:
    """Store the records of an agent, one row a trace, in one transaction; return how many traces they belong to.

    Findings of the policy's kinds are cut first. Records of no trace, and log records that say nothing of a model
    call, are left out: they belong to no episode. The same records again are stored again and change nothing.
    """
    parts: dict[str, tuple[list[Span], list[Log]]] = defaultdict(lambda: ([], []))
    for span in spans:
        parts[span.trace_id][0].append(span)
    for log in logs:
        if log.trace_id and is_telling_log(log):
            parts[log.trace_id][1].append(log)
    if not parts:
        return 0
    kinds = agent.current_policy().redaction.kinds
    # One order for all requests, so that two that share traces wait instead of locking crosswise.
    names = sorted(parts)
    rows = ((uuid7(), agent.pk, name, _fragment(*parts[name], kinds)) for name in names)
    has_root = [is_root_present(parts[name][0]) for name in names]
    ids = [uuid7() for _ in names]
    with transaction.atomic():
        copy_rows(TraceFragment, ("id", "agent", "trace_id", "body"), rows)
        with connection.cursor() as cursor:
            cursor.execute(_MARK_DUE, [agent.pk, QUIET_S, SILENCE_S, ids, names, has_root, QUIET_S, SILENCE_S])
    return len(names)


def _fragment(spans: list[Span], logs: list[Log], kinds: Collection[str]) -> bytes:
    records: list[Span | Log] = [*spans, *logs]
    resources = {id(record.resource): record.resource for record in records}
    if may_need_cuts([*resources.values(), *(record.said() for record in records)], kinds):
        # Records that share a resource go on sharing it, so that it is stored once.
        resources = {key: redacted(resource, kinds) for key, resource in resources.items()}
        spans = [_without(span, kinds, resources[id(span.resource)]) for span in spans]
        logs = [_without(log, kinds, resources[id(log.resource)]) for log in logs]
    return dump_fragment(spans, logs)


def _without[Row: (Span, Log)](record: Row, kinds: Collection[str], resource: dict[str, Any]) -> Row:
    """Cut findings from every text of a record but its ids, which come first; give it the resource as it was cut."""
    if may_need_cuts(record.said(), kinds):
        row: list[Any] = replace(record, resource={}).to_json()
        record = type(record).from_json([*row[:3], *redacted(row[3:], kinds)])
    return replace(record, resource=resource)
