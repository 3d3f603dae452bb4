"""Puts the spans and log records of one trace into trees, and finds the agent runs in them. Pure.

Everything here is a function of the *set* of records: order, repetition and batches make no difference.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from episodes.otlp.dialects.reading import RUN_KINDS, Reading, number
from episodes.otlp.dialects.registry import is_telling_log, read_span
from episodes.otlp.spans import Log, Span

__all__ = ["Node", "Run", "is_root_present", "nodes_of", "runs_of", "traces_of"]

# The parent of a span that only log records tell of: it has one, but nobody knows which.
_UNKNOWN = "?"
_SPOKEN_ORDER = ("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message")


@dataclass(slots=True)
class Node:
    """A span in its tree.

    `has_arrived` is false where only log records tell of the span. `is_rooted` says that every ancestor up to a span
    without parent is known. `top` is the id of the outermost run around it (itself included), `caller` the nearest
    ancestor that is an act of the agent.
    """

    span: Span
    reading: Reading
    has_arrived: bool = True
    is_rooted: bool = False
    is_judging: bool = False
    depth: int = 0
    attempt: int | None = None
    top: str = ""
    caller: "Node | None" = None

    @property
    def is_run(self) -> bool:
        return self.reading.kind in RUN_KINDS

    @property
    def order(self) -> tuple[int, int, str]:
        return self.span.start_ns, self.depth, self.span.span_id


@dataclass(slots=True)
class Run:
    """One agent run: its id, the span it begins with, and its nodes in order of time."""

    id: str
    root: Node
    nodes: list[Node] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        """Tell whether the run's own span has ended and no ancestor is missing that could take it in."""
        return self.root.has_arrived and self.root.is_rooted and self.root.span.end_ns > 0


def traces_of(spans: Iterable[Span], logs: Iterable[Log]) -> dict[str, tuple[list[Span], list[Log]]]:
    """Return spans, each once, and telling log records, each once, by trace. Records without a trace are left out.

    Of two spans with one id an ended one wins over an unended, then the later end, then the greater canonical bytes.
    """
    best: dict[tuple[str, str], Span] = {}
    for span in spans:
        key = span.trace_id, span.span_id
        known = best.get(key)
        if known is None or _precedence(span) > _precedence(known):
            best[key] = span
    records = {_bytes(log): log for log in logs if log.trace_id and is_telling_log(log)}
    traces: dict[str, tuple[list[Span], list[Log]]] = defaultdict(lambda: ([], []))
    for span in best.values():
        # logfire announces running spans by empty ones beside them.
        if span.attributes.get("logfire.span_type") != "pending_span":
            traces[span.trace_id][0].append(span)
    for _, log in sorted(records.items(), key=lambda pair: (pair[1].time_ns, _spoken(pair[1]), pair[0])):
        traces[log.trace_id][1].append(log)
    return dict(traces)


def _precedence(span: Span) -> tuple[bool, int, bytes]:
    return span.end_ns > 0, span.end_ns, _bytes(span)


def _bytes(record: Span | Log) -> bytes:
    return orjson.dumps(record.to_json(), option=orjson.OPT_SORT_KEYS)


def _spoken(log: Log) -> int:
    return _SPOKEN_ORDER.index(log.name) if log.name in _SPOKEN_ORDER else len(_SPOKEN_ORDER)


def nodes_of(spans: Sequence[Span], logs: Sequence[Log]) -> dict[str, Node]:
    """Return the nodes of one trace by span id, parents first; log records of a span that never came make one up."""
    said: dict[str, list[Log]] = defaultdict(list)
    for log in logs:
        said[log.span_id].append(log)
    found = {span.span_id: Node(span, read_span(span, said.pop(span.span_id, ()))) for span in spans}
    for span_id, told in said.items():
        span = _made_up(span_id, told)
        found[span_id] = Node(span, read_span(span, told), has_arrived=False)
    nodes: dict[str, Node] = {}
    for node in _parents_first(found):
        _place(node, nodes.get(node.span.parent_id))
        nodes[node.span.span_id] = node
    return nodes


def _made_up(span_id: str, logs: Sequence[Log]) -> Span:
    first, last = logs[0], logs[-1]
    return Span(
        first.trace_id, span_id, _UNKNOWN, "", 0, first.time_ns, last.time_ns, 0, "", {}, first.resource, first.scope, []
    )  # fmt: skip


def _parents_first(nodes: dict[str, Node]) -> Iterator[Node]:
    """Yield every node after its parent. Circles, which no honest sender makes, come last and stay unrooted."""
    children: dict[str, list[Node]] = defaultdict(list)
    waiting = []
    for node in sorted(nodes.values(), key=lambda node: node.span.span_id):
        if node.span.parent_id in nodes:
            children[node.span.parent_id].append(node)
        else:
            waiting.append(node)
    seen = set()
    while waiting:
        node = waiting.pop()
        seen.add(node.span.span_id)
        yield node
        waiting.extend(children[node.span.span_id])
    yield from (node for span_id, node in sorted(nodes.items()) if span_id not in seen)


def _place(node: Node, parent: Node | None) -> None:
    own = number(node.span.attributes.get("whetstone.attempt"))
    attempt = int(own) if own is not None and 1 <= own <= 32_000 else None
    node.is_judging = node.reading.kind == "check"
    if parent is None:
        node.is_rooted = not node.span.parent_id
        node.attempt = attempt
    else:
        node.is_rooted = parent.is_rooted
        node.is_judging = node.is_judging or parent.is_judging
        node.depth = parent.depth + 1
        node.attempt = attempt if attempt is not None else parent.attempt
        node.top = parent.top
        node.caller = parent if parent.reading.kind else parent.caller
    if not node.top and node.is_run:
        node.top = node.span.span_id


def runs_of(trace_id: str, nodes: dict[str, Node]) -> list[Run]:
    """Return the agent runs of a trace; none when nothing in it concerns an agent.

    Ids must be the same in the end whatever came first, and none may be given out that later has no episode. Hence:

    - The trace always has one run with the trace's own id. It belongs to the earliest outermost agent span (or, while
      none is known, to the span without parent, else the earliest), and takes in whatever is in no other run.
    - A further run `trace:span` is opened for another outermost agent span only once every ancestor of it up to a
      span without parent has arrived. Before that, an outer agent could still turn up and take it in, so its spans
      count as the trace's.

    Ancestors never change and "outermost with all ancestors known" stays true for ever, so ids are only ever added
    while spans arrive. Which of several agents holds the bare trace id may move to an earlier one that came late.

    A workflow span (chain, graph) around agents is a run and takes them in; one without agents in it opens none.
    """
    if not any(node.reading.dialects for node in nodes.values()):
        return []
    outer = {node.top for node in nodes.values() if node.is_rooted and node.reading.kind == "agent"}
    roots = sorted((nodes[span_id] for span_id in outer), key=_seniority)
    main = Run(trace_id, roots[0] if roots else _provisional_root(nodes))
    others = {root.span.span_id: Run(f"{trace_id}:{root.span.span_id}", root) for root in roots[1:]}
    for node in sorted(nodes.values(), key=lambda node: node.order):
        run = others.get(node.top, main) if node.is_rooted else main
        run.nodes.append(node)
    return [main, *others.values()]


def _seniority(node: Node) -> tuple[int, str]:
    return node.span.start_ns, node.span.span_id


def _provisional_root(nodes: dict[str, Node]) -> Node:
    """Return where a trace without a known agent run begins: a rooted workflow, the parentless span, any run, any."""
    listed = list(nodes.values())
    tops = [node for node in listed if node.top == node.span.span_id]
    for some in (
        [node for node in tops if node.is_rooted],
        [node for node in listed if not node.span.parent_id],
        tops,
        listed,
    ):
        if some:
            return min(some, key=_seniority)
    raise ValueError("A trace without spans has no root.")


def is_root_present(spans: Iterable[Span]) -> bool:
    """Tell whether a span without parent is among the spans, so that the trace's outermost work has been reported."""
    return any(not span.parent_id for span in spans)
