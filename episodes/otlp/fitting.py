"""Brings an item within the size one episode may have, so that a long run is shortened rather than refused. Pure."""

from typing import Any

import orjson

from episodes.door import MAX_EPISODE_BYTES, MAX_STEPS
from harness.canonical import canonical_bytes

__all__ = ["fit"]

# Redaction puts marks into texts after this was measured.
_ROOM = MAX_EPISODE_BYTES * 9 // 10
_CUTS = (20_000, 2_000, 200, 20)


def fit(item: dict[str, Any]) -> dict[str, Any]:
    """Return the item small enough for the door, with `attributes.shortened` telling what was left out.

    First go the messages that a model call repeats from the one before, then the ends of long texts, ever shorter;
    last the later steps. The same item always shrinks the same way.
    """
    steps = item["steps"]
    told: list[str] = []
    if len(steps) > MAX_STEPS:
        told.append(f"{len(steps) - MAX_STEPS} steps beyond the {MAX_STEPS}th")
        item["steps"] = steps[:MAX_STEPS]
    if not _fits(item):
        told.append("messages repeated from the model call before")
        _drop_repeated(item["steps"])
    for most in _CUTS:
        if _fits(item):
            break
        told.append(f"texts beyond {most} characters")
        for name in ("input", "output", "steps", "sources"):
            item[name] = _cut(item[name], most)
    while item["steps"] and not _fits(item):
        told.append("half of the steps")
        item["steps"] = item["steps"][: len(item["steps"]) // 2]
    if not _fits(item):
        told.append("input, output and sources")
        item.update(input={}, output={}, sources=[])
    if told:
        item["attributes"]["shortened"] = told
    return item


def _fits(item: dict[str, Any]) -> bool:
    text = orjson.dumps(item)
    # The canonical form writes 1e-6 as 0.000001 and 1e16 with all its digits; below this it does not matter.
    return len(text) <= _ROOM // 4 or (len(text) <= 2 * _ROOM and len(canonical_bytes(item)) <= _ROOM)


def _drop_repeated(steps: list[dict[str, Any]]) -> None:
    before: list[Any] = []
    for step in steps:
        messages = step["input"].get("messages") if step["kind"] == "model_call" else None
        if not isinstance(messages, list):
            continue
        same = 0
        for old, new in zip(before, messages, strict=False):
            if old != new:
                break
            same += 1
        if same:
            step["input"] = {**step["input"], "messages": messages[same:], "messages_left_out": same}
        before = messages


def _cut(value: Any, most: int) -> Any:
    match value:
        case str() if len(value) > most:
            return value[:most] + "…"
        case list():
            return [_cut(part, most) for part in value]
        case dict():
            return {_cut(name, most): _cut(part, most) for name, part in value.items()}
    return value
