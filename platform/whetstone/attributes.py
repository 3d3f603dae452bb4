"""The names by which a harness travels beside traces: span attributes, and W3C baggage from process to process.

Anything that reads them (the platform's reader of OpenTelemetry, another service of the same agent) reads exactly these.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from whetstone.harness import Harness

__all__ = [
    "ARM",
    "CONVERSATION",
    "HARNESS_DIGEST",
    "NAMES",
    "RELEASE",
    "SUBJECT",
    "WEIGHT",
    "baggage",
    "read_baggage",
    "span_attributes",
]

HARNESS_DIGEST: Final = "whetstone.harness.digest"
RELEASE: Final = "whetstone.release"
ARM: Final = "whetstone.arm"
WEIGHT: Final = "whetstone.weight"
CONVERSATION: Final = "session.id"
SUBJECT: Final = "user.id"
NAMES: Final = (HARNESS_DIGEST, RELEASE, ARM, WEIGHT, CONVERSATION, SUBJECT)

# The octets a baggage value may hold unescaped (W3C Baggage §3.3.1.3), less the percent sign.
_PLAIN = "!#$&'()*+-./:<=>?@[]^_`{|}~"


def span_attributes(harness: "Harness", *, conversation: str = "", user: str = "") -> dict[str, str | float]:
    """Return what a span says of the harness it ran on; what is unknown is left out.

    `conversation` and `user` default to those the harness was fetched for.
    """
    named = {
        HARNESS_DIGEST: harness.digest,
        RELEASE: harness.release,
        ARM: harness.arm,
        WEIGHT: harness.weight,
        CONVERSATION: conversation or harness.conversation,
        SUBJECT: user or harness.user,
    }
    return {name: value for name, value in named.items() if value is not None and value != ""}


def baggage(harness: "Harness", *, conversation: str = "", user: str = "", before: str = "") -> str:
    """Return the `baggage` header that carries the same to the next process, after the entries of `before`."""
    own = span_attributes(harness, conversation=conversation, user=user)
    others = [entry.strip() for entry in before.split(",") if entry.strip() and _name(entry) not in NAMES]
    return ",".join([*others, *(f"{name}={quote(str(value), safe=_PLAIN)}" for name, value in own.items())])


def read_baggage(header: str) -> dict[str, str | float]:
    """Return the attributes a `baggage` header carries; foreign entries, properties and broken weights are passed over."""
    found: dict[str, str | float] = {}
    for entry in header.split(","):
        value = entry.partition("=")[2].partition(";")[0].strip()
        name = _name(entry)
        if name in NAMES and value:
            found[name] = unquote(value)
    with suppress(KeyError, ValueError):
        found[WEIGHT] = float(found.pop(WEIGHT))
    return found


def _name(entry: str) -> str:
    return entry.partition("=")[0].strip()
