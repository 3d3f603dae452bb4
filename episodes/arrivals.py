"""What has come from an agent: its first and newest episode, what that one lacks, and traces that are no episode yet.

Somebody who connects an agent looks at exactly this. Every question is a few index lookups, whatever the number of
episodes; beyond `EXACT` the number is the last account's.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from django.utils import timezone

from episodes.models import CaptureTally, Episode, Trace
from harness.models import Agent

__all__ = ["EXACT", "Arrivals", "Lack", "TraceReading", "arrivals_of", "lacks_of"]

EXACT = 1_000
_MAX_TRACES = 20
_OVERDUE = timedelta(seconds=15)

type Channel = Literal["otlp", "client", "rest"]


@dataclass(frozen=True)
class Lack:
    """Something an episode does not say, why that matters, and the one line that mends it where it came from."""

    code: str
    what: str
    why: str
    mend: str


@dataclass(frozen=True)
class TraceReading:
    """A trace that is no episode (yet), and why."""

    trace_id: str
    state: Literal["waiting", "overdue", "refused", "silent"]
    sentence: str
    num_parts: int
    last_at: datetime


@dataclass
class Arrivals:
    """What has come from one agent. `number` is exact up to `EXACT`, then as of the last account."""

    number: int = 0
    is_exact: bool = True
    first: Episode | None = None
    newest: Episode | None = None
    lacks: list[Lack] = field(default_factory=list)
    traces: list[TraceReading] = field(default_factory=list)

    @property
    def is_waiting(self) -> bool:
        return self.newest is None


def arrivals_of(agent: Agent) -> Arrivals:
    """Return what has come from `agent` by now."""
    own = Episode.objects.filter(agent=agent)
    rows = own.select_related("conversation").defer("conversation__embedding")
    newest = rows.order_by("-pk").first()
    found = Arrivals(newest=newest, traces=_traces(agent))
    if newest is not None:
        found.first = rows.order_by("pk").first()
        found.lacks = lacks_of(newest, has_version=agent.stable_id is not None)
        found.number = own.order_by()[: EXACT + 1].count()
        if found.number > EXACT:
            counted = CaptureTally.objects.filter(agent=agent).values_list("captured", flat=True).first() or 0
            found.number, found.is_exact = max(EXACT, counted), False
    return found


def _traces(agent: Agent) -> list[TraceReading]:
    """Return those of the newest traces that have become no episode, or whose newest records are in none."""
    newest = list(Trace.objects.filter(agent=agent).order_by("-pk")[:_MAX_TRACES])
    # One run of every trace bears the trace's own id.
    known = Episode.objects.filter(agent=agent, external_id__in=[trace.trace_id for trace in newest])
    episodes, now = set(known.values_list("external_id", flat=True)), timezone.now()
    readings = [_reading(trace, now, has_episode=trace.trace_id in episodes) for trace in newest]
    return [reading for reading in readings if reading is not None]


def _reading(trace: Trace, now: datetime, *, has_episode: bool) -> TraceReading | None:
    due = trace.due_at
    if trace.error:
        state, sentence = "refused", f"It could not be made into an episode: {trace.error}"
    elif due is not None and due < now - _OVERDUE:
        state, sentence = "overdue", (
            f"It has been due since {due:%H:%M:%S} UTC and nobody has made it into an episode. See that a worker and the "
            "clock run; `make serve` starts both."
        )  # fmt: skip
    elif due is not None and not trace.has_root:
        state, sentence = "waiting", (
            f"The span without parent has not come; it is waited for until {due:%H:%M:%S} UTC. Spans are sent when they "
            "end: let the run end, and flush the exporter before the process does (tracer_provider.force_flush())."
        )  # fmt: skip
    elif due is not None:
        state, sentence = "waiting", f"It becomes an episode at {due:%H:%M:%S} UTC, unless more of it comes."
    elif not has_episode:
        state, sentence = "silent", (
            "Nothing in it was recognized as an agent's work: no model call, no tool call, no agent. Instrument the SDK "
            "that calls the model."
        )  # fmt: skip
    else:
        return None
    return TraceReading(trace.trace_id, state, sentence, trace.num_fragments, trace.last_at)  # type: ignore[arg-type]  # literals above


_MEND: dict[str, dict[Channel, str]] = {
    "no_user": {
        "otlp": 'span.set_attribute("user.id", "user-17")  # on the run\'s span',
        "client": 'harness = ws.harness(user="user-17", conversation="c-1")',
        "rest": '"subject": "user-17"',
    },
    "no_conversation": {
        "otlp": 'span.set_attribute("session.id", "c-1")  # on the run\'s span',
        "client": 'harness = ws.harness(user="user-17", conversation="c-1")',
        "rest": '"conversation": "c-1"',
    },
    "no_harness": {
        "otlp": "span.set_attributes(ws.harness(user=…, conversation=…).span_attributes())",
        "client": "with ws.episode(harness, input=question) as episode:",
        "rest": '"harness_digest": "<digest of GET /api/v1/agents/{agent}/harness>"',
    },
    "no_model": {
        "otlp": "OpenAIInstrumentor().instrument()  # opentelemetry-instrumentation-openai-v2, or your SDK's",
        "client": "client = whetstone.openai.wrap(openai.OpenAI())",
        "rest": '"usage": {"model": "…", "input_tokens": 12, "output_tokens": 5}',
    },
    "no_words": {
        "otlp": "export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only "
        "OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental",
        "client": "episode.output(answer)  # and input=question where the episode begins",
        "rest": '"input": {"messages": [{"role": "user", "content": "…"}]}, "output": {"text": "…"}',
    },
}


def lacks_of(episode: Episode, *, has_version: bool) -> list[Lack]:
    """Return what the episode (with its conversation) does not say; `has_version`: the agent serves a harness."""
    talk, channel = episode.conversation, _channel(episode.attributes)
    said = {
        "no_words": bool(episode.user_texts()) and bool(episode.output_text),
        "no_user": bool(talk.subject),
        "no_conversation": talk.external_id != episode.external_id,
        "no_harness": bool(episode.harness_digest),
        "no_model": _names_usage(episode.usage),
    }
    told = {
        "no_words": ("no words", "without what the user asked and what was answered nothing can be learned from it"),
        "no_user": ("no user", "releases and guards count users, and erasing somebody's data needs the id"),
        "no_conversation": ("no conversation id", "each run counts as a conversation of its own, so turns stay apart"),
        "no_harness": ("no harness digest", "nobody can tell which version did this"),
        "no_model": ("no model or usage", "cost and speed cannot be compared"),
    }
    lacks = [Lack(code, *told[code], _MEND[code][channel]) for code, is_said in said.items() if not is_said]
    if has_version:
        return lacks
    first = "give the agent its first document: adopt it from these traces, or write it"
    return [Lack(one.code, one.what, one.why, first) if one.code == "no_harness" else one for one in lacks]


def _channel(attributes: Any) -> Channel:
    named = attributes if isinstance(attributes, dict) else {}
    if named.get("captured_by") == "otlp":
        return "otlp"
    return "client" if "harness_source" in named else "rest"


def _names_usage(usage: Any) -> bool:
    named = usage if isinstance(usage, dict) else {}
    return bool(named.get("model")) and any(name.endswith("tokens") for name in named)
