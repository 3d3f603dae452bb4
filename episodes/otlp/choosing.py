"""Layer by layer, what a person may take over of what captured spans show, and the document that comes of it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from episodes.otlp.adoption import Adopted
from harness import sensitive
from harness.canonical import digest_of
from harness.documents import Layer, validate_document

__all__ = ["KEEP", "Choice", "Option", "choices_of", "composed", "doubts_about"]

KEEP = "keep"
_KEY_LENGTH = 16
_NOTHING: tuple[Any, ...] = ("", None, {}, [])


@dataclass(frozen=True)
class Option:
    """One way to take a layer over. `key` names its value for as long as it stays the same.

    `count` runs showed it, the `share` of all that show the layer; both are `None` for what was put together of many.
    """

    key: str
    label: str
    value: Any = None
    share: float | None = None
    count: int | None = None


@dataclass(frozen=True)
class Choice:
    """A layer the spans say something about: its options, the most frequent first, and the one that is taken: the first without a wish."""

    layer: Layer
    options: list[Option]
    chosen: Option


def choices_of(adopted: Adopted, wanted: Mapping[str, str]) -> list[Choice]:
    """Return what there is to choose; `wanted` names options by layer. Raise `KeyError` for one that is not there."""
    whole = adopted.document
    offered: dict[Layer, list[Option]] = {
        "prompt": _variants(adopted, "prompt"),
        "tools": _variants(adopted, "tools"),
        "workflow": [],
        "model": _variants(adopted, "model"),
    }
    _lead(offered["tools"], "every tool that was seen", whole.get("tools"))
    _lead(offered["workflow"], "every agent seen inside a run", whole.get("workflow", {}).get("nodes"))
    keep = Option(KEEP, "leave as it is")
    return [_choice(layer, [*options, keep], wanted.get(layer, "")) for layer, options in offered.items() if options]


def _choice(layer: Layer, options: list[Option], wanted: str) -> Choice:
    return Choice(layer, options, {option.key: option for option in options}[wanted] if wanted else options[0])


def _variants(adopted: Adopted, layer: Layer) -> list[Option]:
    return [
        Option(_key(one.value), f"variant {number}", one.value, one.share, one.count)
        for number, one in enumerate((one for one in adopted.variants if one.layer == layer), start=1)
    ]


def _lead(options: list[Option], label: str, value: Any) -> None:
    """Put what was gathered from all runs before the variants, unless it is one of them."""
    if value not in _NOTHING and _key(value) not in {option.key for option in options}:
        options.insert(0, Option(_key(value), label, value))


def _key(value: Any) -> str:
    return digest_of(value)[:_KEY_LENGTH]


def composed(base: Mapping[str, Any], choices: list[Choice]) -> dict[str, Any]:
    """Return `base` with the chosen values in it; what spans cannot show (rules, knowledge, settings) stays as it is.

    Raise `DocumentError` where the result is no valid document.
    """
    document = dict(base)
    for choice in choices:
        if choice.chosen.key != KEEP:
            document[choice.layer] = _merged(choice.layer, base.get(choice.layer, {}), choice.chosen.value)
    return cast("dict[str, Any]", validate_document(document))


def _merged(layer: Layer, own: Mapping[str, Any], value: Any) -> dict[str, Any]:
    match layer:
        case "prompt":
            return {**own, "system": value}
        case "tools":
            return {**own, **{name: _tool(own.get(name), tool) for name, tool in value.items()}}
        case "workflow":
            nodes = own.get("nodes", {})
            return {**own, "nodes": {**nodes, **{name: _node(nodes.get(name), node) for name, node in value.items()}}}
        case _:
            return {**own, **value}


def _tool(known: Mapping[str, Any] | None, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tool as it was offered; of one that was only called, what is known of it is better."""
    if known is None:
        return dict(seen)
    return dict(known) if not seen["description"] else {**known, **{n: seen[n] for n in ("description", "parameters")}}


def _node(known: Mapping[str, Any] | None, seen: Mapping[str, Any]) -> dict[str, Any]:
    return dict(seen) if known is None else {**known, **{name: seen[name] for name in ("role", "prompt", "tools")}}


def doubts_about(base: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every secret or personal datum that the document has and its base has not, and for cuts.

    Where the policy cuts such data at the door, the draft says `[email]` where the agent says an address.
    """
    before, after = (json.dumps(one, ensure_ascii=False) for one in (base, document))
    known = {found.text for found in sensitive.find(before)}
    new = {found.text: found for found in sensitive.find(after)}
    cut = [kind for kind in sensitive.KINDS if f"[{kind}]" in after and f"[{kind}]" not in before]
    cuts = [
        f"The draft says {', '.join(f'[{kind}]' for kind in cut)} where redaction cut something out before it was kept. "
        "Accept it only if the agent can run on that; else write the text by hand."
    ]
    return (cuts if cut else []) + [
        f"The document holds what looks like a {found.kind.replace('_', ' ')}: {found.masked} "
        "Versions are kept for ever and served to every user. Choose another variant, or take it out of the agent."
        for text, found in new.items()
        if text not in known
    ]
