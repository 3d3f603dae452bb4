"""Chooses the dialects a span speaks and lays their readings over each other, the most specific first. Pure."""

from collections.abc import Sequence
from types import ModuleType

from episodes.otlp.dialects import ai_sdk, genai, langfuse, openinference, openllmetry, own, pydantic_ai
from episodes.otlp.dialects.reading import Reading
from episodes.otlp.spans import Log, Span

__all__ = ["NORMALIZER_VERSION", "is_telling_log", "read_span"]

# Raised whenever the same spans would give another episode.
NORMALIZER_VERSION = 1

_DIALECTS: tuple[ModuleType, ...] = (own, openinference, langfuse, ai_sdk, pydantic_ai, openllmetry, genai)


def read_span(span: Span, logs: Sequence[Log] = ()) -> Reading:
    """Return what a span says with its log records; `dialects` is empty when it is of no agent's concern."""
    # A dialect is known by the first part of its names, or by one whole name.
    heads = {name.partition(".")[0] for name in span.attributes} | span.attributes.keys()
    if logs or any(event["name"].startswith("gen_ai.") for event in span.events):
        heads.add("gen_ai")
    reading: Reading | None = None
    for dialect in _DIALECTS:
        if heads & dialect.HEADS or span.scope in getattr(dialect, "SCOPES", ()):
            one = dialect.read(span, logs)
            one.dialects = (dialect.NAME,)
            if reading is None:
                reading = one
            else:
                reading.fill(one)
    return reading if reading is not None else Reading()


def is_telling_log(log: Log) -> bool:
    """Tell whether a log record carries messages of a model call or a verdict, so belongs to an episode."""
    return genai.is_message_event(log.name) or any(name.startswith("gen_ai.") for name in log.attributes)
