"""Hypothesis strategies for reported episodes: good ones over all fields, and the ways one can be bad, as JSON text."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from hypothesis import strategies as st

from episodes.door import MAX_EPISODE_BYTES, MAX_STEPS
from harness.canonical import MAX_DEPTH, MAX_INTEGER
from tests.harness.json_values import NAMES, SCALARS, TEXTS

__all__ = ["BAD", "GOOD", "Bad", "kept"]

_PERSONAL, _CUT = "Write to jane.roe@gmail.com please", "Write to [email] please"
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not number.is_integer() or abs(number) <= MAX_INTEGER
)
_VALUES = st.recursive(
    SCALARS | _NUMBERS | st.just(_PERSONAL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(NAMES, _VALUES, max_size=4)
_NEUTRAL_OBJECTS = st.dictionaries(NAMES, SCALARS | _NUMBERS, max_size=4)
_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]) | _VALUES},
    optional={"content": TEXTS | st.just("I want a refund") | st.lists(_OBJECTS, max_size=2) | _VALUES, "id": _VALUES},
)
_TALK = st.fixed_dictionaries({"messages": st.lists(_MESSAGE, max_size=4) | _VALUES})
_MIDDLE = st.text(st.characters(exclude_characters="\x00\n", exclude_categories=("Cs",)), max_size=30)
_EDGE = st.sampled_from([*"aZ09-_/:.#", "ö", "語", "\U0001f600"])
_NAMES_OF_THINGS = st.builds(lambda first, middle, last: first + middle + last, _EDGE, _MIDDLE, _EDGE)


def _moments(earliest: datetime, latest: datetime) -> st.SearchStrategy[str]:
    zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))) | st.none()
    moments = st.datetimes(earliest, latest, timezones=zones, allow_imaginary=False)
    return moments.map(datetime.isoformat) | moments.map(lambda moment: moment.isoformat(" ", "seconds"))


_STEP = st.fixed_dictionaries(
    {"kind": st.sampled_from(["model_call", "tool_call", "retrieval", "handoff", "check"])},
    optional={
        "name": TEXTS | st.none() | st.just("n" * 200),
        "attempt": st.integers(1, 32_000),
        "input": _VALUES,
        "output": _VALUES,
        "status": st.sampled_from(["ok", "error"]),
        "error": TEXTS | st.none() | st.just("e" * 20_000),
        "latency_ms": st.floats(0, 1e9) | st.integers(0, MAX_INTEGER) | st.none(),
    },
)
# `conversation` and `subject` are left to the batch: one conversation has one user.
GOOD = st.fixed_dictionaries(
    {"id": _NAMES_OF_THINGS | st.just("i" * 200)},
    optional={
        "conversation": st.sampled_from(["one", "two", "語 three", "c" * 180]) | st.none(),
        "subject": st.sampled_from(["", "user", None]),
        "agent": st.sampled_from([None, "shop-desk"]),
        "started_at": _moments(datetime(2001, 1, 1), datetime(2020, 1, 1)) | st.none(),  # noqa: DTZ001  # zones are drawn
        "ended_at": _moments(datetime(2020, 1, 3), datetime(2025, 1, 1)) | st.none(),  # noqa: DTZ001  # zones are drawn
        "input": _TALK | _VALUES,
        "output": _OBJECTS | _VALUES | st.just({"handoff": True, "text": _PERSONAL}),
        "workflow": TEXTS | st.none() | st.just("w" * 120),
        "steps": st.lists(_STEP, max_size=4),
        "sources": st.lists(_VALUES, max_size=3),
        "usage": _NEUTRAL_OBJECTS | st.none(),
        "harness_digest": st.sampled_from(["", None, "0" * 64, "ab" * 32]),
        "release": st.uuids().map(str) | st.uuids().map(lambda one: one.hex) | st.none(),
        "arm": st.sampled_from(["", None, "canary", "a" * 10, "語" * 10]),
        "weight": st.floats(0, 1) | st.sampled_from([0, 1, None]),
        "external_refs": _NEUTRAL_OBJECTS | st.none(),
        "attributes": _OBJECTS | st.none(),
    },
)


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(_PERSONAL, _CUT)
    if isinstance(value, list):
        return [_cut(part) for part in value]
    return {name: _cut(part) for name, part in value.items()} if isinstance(value, dict) else value


def _wrapped(value: Any) -> Any:
    value = {} if value is None else _cut(value)
    return value if isinstance(value, dict) else {"value": value}


def _utc(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def kept(item: dict[str, Any]) -> dict[str, Any]:
    """Return what the documents promise to keep of a good item: told again here, not read from the door."""
    steps = [
        {
            "position": position,
            "kind": step["kind"],
            "name": _cut(step.get("name") or ""),
            "attempt": step.get("attempt", 1),
            "input": _wrapped(step.get("input")),
            "output": _wrapped(step.get("output")),
            "status": "error" if step.get("error") or step.get("status") == "error" else "ok",
            "error": _cut(step.get("error") or ""),
            "latency_ms": step.get("latency_ms"),
        }
        for position, step in enumerate(item.get("steps", ()), start=1)
    ]
    release = item.get("release")
    return {
        "external_id": item["id"], "conversation": item.get("conversation") or item["id"],
        "input": _wrapped(item.get("input")), "output": _wrapped(item.get("output")), "steps": steps,
        "workflow": item.get("workflow") or "", "sources": _cut(item.get("sources", [])), "usage": item.get("usage") or {},
        "external_refs": item.get("external_refs") or {}, "attributes": _cut(item.get("attributes") or {}),
        "harness_digest": item.get("harness_digest") or "", "release": release and release.replace("-", ""),
        "arm": item.get("arm") or "", "weight": item.get("weight"),
        "started_at": _utc(item.get("started_at")), "ended_at": _utc(item.get("ended_at")),
    }  # fmt: skip


class Bad(NamedTuple):
    """A way to be bad: a stable name, and what makes a good item's JSON text bad."""

    name: str
    of: Callable[[dict[str, Any]], str]


def _with(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda item: json.dumps(item | changes)


def _and(members: str) -> Callable[[dict[str, Any]], str]:
    """Add members as they are written: what Python would not write, or not twice."""
    return lambda item: f"{json.dumps(item)[:-1]}, {members}}}"


def _step(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return _with(steps=[{"kind": "check"}, {"kind": "tool_call"} | changes])


def _nested(depth: int) -> str:
    return f'"deep": {"[" * depth}{"]" * depth}'


_FIELDS = (
    ("id", None, "", " a", "a ", "a\nb", "i" * 201, 5, [], {}, True), ("conversation", "", "c" * 201, 7, []),
    ("subject", "s" * 201, 7, []), ("agent", "another-desk", 7, {}), ("workflow", "w" * 121, 7), ("arm", "a" * 11, 7),
    ("started_at", "", "yesterday", "2025-02-30", "1999-12-31T23:59:59Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59-14:00", "2025-01-01T00:00:00+99:99", 10**15, -1, True, [], {}),
    ("ended_at", "0001-01-01T00:00:00+00:01", "1999-12-31T00:00:00Z", "2025-01-01T25:00:00Z", 1e15, []),
    ("steps", None, {}, "x", [5], [None], [[]], [{}], [{"kind": "check"}] * (MAX_STEPS + 1)), ("sources", None, {}, "x", 1),
    ("usage", [], "x", 1), ("attributes", [], "x", 1), ("external_refs", [], "x", 1), ("mood", "good"), ("\U0001f600", 1),
    ("harness_digest", "x", "A" * 64, "a" * 63, "a" * 64 + "\n", 7), ("release", "", "x", 7, "0" * 31),
    ("weight", -0.1, 1.1, "x", [], 1e300),
)  # fmt: skip
_STEPS = (
    ("kind", None, "dance", 5, [], {}), ("name", "n" * 201, 5, []), ("attempt", 0, -1, 32_001, 1.5, "x", None),
    ("status", None, "bad", True), ("error", "e" * 20_001, 5, []), ("latency_ms", -1, "x", [], {}), ("mood", "good"),
)  # fmt: skip
_MEMBERS = {
    "NUL in a text": '"z": "a\\u0000b"', "NUL in a name": '"z": {"\\u0000": 1}', "NUL deep inside": '"z": [[{"a": ["\\u0000"]}]]',
    "half a pair": '"z": "\\ud800"', "the other half": '"z": ["\\udc00x"]', "half a pair in a name": '"z": {"\\ud83d": 1}',
    "NaN": '"z": NaN', "infinity": '"z": Infinity', "minus infinity": '"z": [-Infinity]', "no finite number": '"z": 1e999',
    "2^53": '"z": 9007199254740992', "-2^53": '"z": -9007199254740992', "2^53 with an exponent": '"z": 9.1e15', "2^64": '"z": 18446744073709551616',
    "ten digits too many": f'"z": 1{"0" * 400}', "more digits than Python reads": f'"z": {"9" * 5_000}', "large float": '"z": -1e300',
    "65 levels": _nested(MAX_DEPTH), "1,100 levels": _nested(1_100), "9,000 levels": _nested(9_000), "60,000 levels": _nested(60_000),
    "a name twice": '"z": 1, "z": 2', "a name twice behind a space": '"y" : 1, "z": 1, "z": 2',
    "a name that ends in a backslash twice": '"z\\\\": 1, "z\\\\": 2', "a name twice by its number": '"z": 1, "\\u007a": 1',
    "more than 2 MiB": f'"z": "{"x" * MAX_EPISODE_BYTES}"', "more than 2 MiB in pieces": f'"z": [{",".join(["12345678"] * (MAX_EPISODE_BYTES // 8))}]',
}  # fmt: skip
BAD: list[Bad] = [
    *(Bad(f"{name}={value!r}"[:60], _with(**{name: value})) for name, *values in _FIELDS for value in values),
    *(Bad(f"step.{name}={value!r}"[:60], _step(**{name: value})) for name, *values in _STEPS for value in values),
    *(Bad(name, _and(f'"attributes": {{{members}}}')) for name, members in _MEMBERS.items()),
    Bad("no id", lambda item: json.dumps({name: value for name, value in item.items() if name != "id"})),
    Bad("id twice", _and('"id": "another"')),
    Bad("half a pair as id", _with(id="a\ud800")),
    Bad("NUL as id", _with(id="a\x00b")),
    Bad("ended before it began", _with(started_at="2025-01-01T00:00:00Z", ended_at="2025-01-01T00:00:00+00:01")),
    *(Bad(f"only {text}", lambda _, text=text: text) for text in ("null", "5", '"text"', "[]", "true", "[{}]", "1e999")),
]  # fmt: skip
