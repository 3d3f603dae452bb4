"""What a person may take over of what traces show, layer by layer, and what stays as it is."""

import pytest

from episodes.otlp.adoption import Adopted, Variant
from episodes.otlp.choosing import KEEP, choices_of, composed, doubts_about
from harness.canonical import DocumentError

LOOKUP = {"description": "Finds an order.", "parameters": {"type": "object"}, "settings": {}, "enabled": True}
CALLED = {"description": "", "parameters": {"type": "object", "properties": {"x": {}}}, "settings": {}, "enabled": True}
ADOPTED = Adopted(
    document={
        "prompt": {"system": "Be brief.", "rules": {}, "examples": {}},
        "tools": {"lookup": LOOKUP, "pay": CALLED},
        "model": {"name": "gpt-x", "parameters": {"temperature": 0}},
    },
    variants=[
        Variant("prompt", "Be brief.", 0.75, 3),
        Variant("prompt", "Be long.", 0.25, 1),
        Variant("tools", {"lookup": LOOKUP}, 1.0, 4),
        Variant("model", {"name": "gpt-x", "parameters": {"temperature": 0}}, 1.0, 4),
    ],
    notes=[],
)
BASE = {
    "prompt": {"system": "Old.", "rules": {"polite": {"position": 10, "text": "Be kind."}}},
    "tools": {"pay": {**LOOKUP, "description": "Pays.", "settings": {"limit": 5}}},
    "context": {"documents": {}},
}


def test_choices__without_a_wish__take_the_most_frequent_and_every_tool() -> None:
    choices = {choice.layer: choice for choice in choices_of(ADOPTED, {})}

    assert set(choices) == {"prompt", "tools", "model"}
    assert choices["prompt"].chosen.value == "Be brief."
    assert [(one.share, one.count) for one in choices["prompt"].options] == [(0.75, 3), (0.25, 1), (None, None)]
    assert set(choices["tools"].chosen.value) == {"lookup", "pay"}
    assert all(choice.options[-1].key == KEEP for choice in choices.values())


def test_composed__on_a_base__leaves_what_spans_cannot_show() -> None:
    document = composed(BASE, choices_of(ADOPTED, {}))

    assert document["prompt"] == {"system": "Be brief.", "rules": BASE["prompt"]["rules"]}
    assert document["tools"] == {"lookup": LOOKUP, "pay": BASE["tools"]["pay"]}
    assert document["context"] == BASE["context"]
    assert document["model"] == {"name": "gpt-x", "parameters": {"temperature": 0}}


def test_composed__other_options__are_taken() -> None:
    [_, other, _] = next(choice for choice in choices_of(ADOPTED, {}) if choice.layer == "prompt").options

    document = composed(BASE, choices_of(ADOPTED, {"prompt": other.key, "tools": KEEP, "model": KEEP}))

    assert document == {**BASE, "prompt": {**BASE["prompt"], "system": "Be long."}}


def test_choices__an_option_nobody_shows__is_an_error() -> None:
    with pytest.raises(KeyError):
        choices_of(ADOPTED, {"prompt": "0" * 16})


def test_composed__a_value_no_document_takes__is_refused() -> None:
    broken = Adopted({"tools": {}}, [Variant("tools", {"x": {**LOOKUP, "parameters": {"type": "nonsense"}}}, 1, 1)], [])

    with pytest.raises(DocumentError):
        composed({}, choices_of(broken, {}))


def test_doubts__a_secret_of_the_draft__is_told_masked_and_only_when_new() -> None:
    secret = {"prompt": {"system": "Write to jane.miller@acme-parts.com when lost."}}

    [sentence] = doubts_about({}, secret)

    assert "email" in sentence
    assert "jane.miller@acme-parts.com" not in sentence
    assert doubts_about(secret, secret) == []


def test_doubts__what_redaction_cut__is_told() -> None:
    [sentence] = doubts_about({}, {"prompt": {"system": "Write to [email] when lost."}})

    assert "[email]" in sentence
    assert "by hand" in sentence
