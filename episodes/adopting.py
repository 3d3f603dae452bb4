"""From the traces an agent sent last, a draft of the harness it runs on, with every variant and what it would change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from episodes.exceptions import AdoptionMovedError, NothingToAdoptError
from episodes.models import Trace, TraceFragment
from episodes.otlp.adoption import Adopted, adopt
from episodes.otlp.choosing import Choice, choices_of, composed, doubts_about
from episodes.otlp.spans import Log, Span, load_fragment
from harness.canonical import digest_of
from harness.documents import LAYERS
from harness.lines import DiffLine, readable_diff
from harness.models import Agent, HarnessVersion

__all__ = ["MAX_TRACES", "AdoptionDraft", "draft_from_traces"]

# A page is made of these while somebody waits: about a second's work at most.
MAX_TRACES = 200
_MAX_PARTS = 2_000
_MAX_BYTES = 16 * 1024 * 1024
_CHUNK = 50
_DIGEST = "whetstone.harness.digest"


@dataclass(frozen=True)
class AdoptionDraft:
    """What an agent's newest traces say about its harness, put onto the stable version (or onto nothing)."""

    base: HarnessVersion | None
    document: dict[str, Any]
    choices: list[Choice]
    notes: list[str]
    trace_ids: list[str]
    num_spans: int
    oldest_at: datetime
    newest_at: datetime

    @property
    def digest(self) -> str:
        return digest_of(self.document)

    @property
    def base_digest(self) -> str:
        """The digest of the version the draft was put onto; empty where the agent serves none."""
        return self.base.digest if self.base else ""

    @property
    def base_document(self) -> dict[str, Any]:
        return self.base.document if self.base else {}

    @property
    def changed_layers(self) -> list[str]:
        return [layer for layer in LAYERS if self.document.get(layer) != self.base_document.get(layer)]

    def lines(self) -> list[DiffLine]:
        return readable_diff(self.base_document, self.document)


def draft_from_traces(agent: Agent, wanted: Mapping[str, str]) -> AdoptionDraft:
    """Return the draft that the newest traces give, with the options `wanted` names by layer and else the most frequent.

    Reads at most `MAX_TRACES` traces, those that failed to become episodes left out. Raises `NothingToAdoptError` where
    there is none or none says anything, `AdoptionMovedError` for an option they do not show (any more), `DocumentError`
    where the choice gives no valid document.
    """
    traces = list(Trace.objects.filter(agent=agent, error="").order_by("-pk")[:MAX_TRACES])
    if not traces:
        raise NothingToAdoptError(
            f"No trace of agent {agent.slug!r} is kept, so there is nothing to read its harness from. Send traces by "
            "OpenTelemetry first; the agent's page 'Connect' shows how. Episodes reported over REST do not suffice."
        )
    spans, logs, notes = _records(agent, [trace.trace_id for trace in traces])
    adopted = _adopted(agent, spans, logs)
    try:
        choices = choices_of(adopted, wanted)
    except KeyError as error:
        raise AdoptionMovedError(
            f"The traces of agent {agent.slug!r} do not show the variant {error.args[0]!r} (any more): newer ones have "
            "come. Read the draft again and choose from what it shows now."
        ) from error
    if not choices:
        raise NothingToAdoptError(
            f"The newest {len(traces)} traces of agent {agent.slug!r} show neither prompt nor tools nor model. "
            "Instrument the SDK that calls the model, and turn on the capture of message content: "
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only and "
            "OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental."
        )
    base = agent.stable
    document = composed(base.document if base else {}, choices)
    notes += [*adopted.notes, *_notes_on(spans), *doubts_about(base.document if base else {}, document)]
    return AdoptionDraft(
        base, document, choices, notes, [trace.trace_id for trace in traces], len(spans),
        min(trace.first_at for trace in traces), max(trace.last_at for trace in traces),
    )  # fmt: skip


def _adopted(agent: Agent, spans: Sequence[Span], logs: Sequence[Log]) -> Adopted:
    try:
        return adopt(spans, logs)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise NothingToAdoptError(
            f"The traces of agent {agent.slug!r} cannot be read as a harness ({type(error).__name__}). "
            "Write its first document by hand."
        ) from error


def _records(agent: Agent, trace_ids: Sequence[str]) -> tuple[list[Span], list[Log], list[str]]:
    """Return the records of the traces, newest trace first, until the limits are reached, and what was left out."""
    spans: list[Span] = []
    logs: list[Log] = []
    parts = size = unreadable = 0
    for start in range(0, len(trace_ids), _CHUNK):
        names = trace_ids[start : start + _CHUNK]
        rows = (
            TraceFragment.objects.filter(agent=agent, trace_id__in=names).order_by("-pk").values_list("body", flat=True)
        )
        for body in rows[: _MAX_PARTS - parts].iterator(chunk_size=_CHUNK):
            parts, size = parts + 1, size + len(body)
            if size > _MAX_BYTES:
                return spans, logs, [*_unread(unreadable), _cut(parts)]
            try:
                some_spans, some_logs = load_fragment(bytes(body))
            except (ValueError, TypeError, IndexError):
                unreadable += 1
                continue
            spans += some_spans
            logs += some_logs
        if parts >= _MAX_PARTS:
            return spans, logs, [*_unread(unreadable), _cut(parts)]
    return spans, logs, _unread(unreadable)


def _cut(parts: int) -> str:
    return f"Only the newest {parts:,} parts of traces were read; there are more."


def _unread(number: int) -> list[str]:
    return [f"{number} parts of traces could not be read and were left out."] if number else []


def _notes_on(spans: Sequence[Span]) -> list[str]:
    named = sum(_DIGEST in span.attributes for span in spans)
    if not named:
        return []
    return [
        f"{named} spans name the harness they ran on, so these runs already fetch it: their prompt is what the agent made "
        "of the served document. Adopting it would write the made text over the document it was made from."
    ]
