import json
from pathlib import Path

import jsonschema
import pytest

from harness.canonical import DocumentError, digest_of
from harness.documents import (
    LAYERS,
    document_schema,
    overlay_document,
    resolved_digest,
    validate_document,
    validate_overlay,
)

FULL = {
    "prompt": {
        "system": "Help.",
        "rules": {"refund-tone": {"position": 10, "text": "Be kind."}},
        "examples": {},
        "preferences": {"language": "en"},
    },
    "tools": {
        "lookup_order": {
            "description": "Find an order.",
            "parameters": {"type": "object", "properties": {"id": {"type": "string", "pattern": "[A-Z]{2}-?[0-9]{5}"}}},
            "settings": {"number_style": "dashed"},
            "enabled": True,
        }
    },
    "workflow": {
        "settings": {"handoff_confidence": 0.45},
        "nodes": {
            "answer": {"role": "…", "prompt": "…", "tools": ["lookup_order"], "next": ["end"], "parallel": None}
        },
        "routes": {},
    },
    "context": {
        "documents": {
            "returns-policy": {
                "title": "Returns", "text": "30 days.", "tags": [], "owner": "ops", "valid_until": "2027-01-31",
            }
        },
        "retrieval": {"top_k": 3},
    },
    "memory": {"rules": {}, "user": {"tone": "short"}},
    "guardrails": {"rules": {"refund-limit": {"when": "refund", "then": "escalate"}}},
    "evals": {"checks": {}},
    "model": {"name": "m", "parameters": {"temperature": 0}},
}  # fmt: skip


@pytest.mark.parametrize("document", [{}, FULL, *({layer: FULL[layer]} for layer in LAYERS)])
def test_validate_document__any_choice_of_layers__is_returned_unchanged(document):
    assert validate_document(document) == document
    jsonschema.validate(document, document_schema())


def test_validate_document__unknown_name_in_a_layer__is_kept():
    document = {"context": {"documents": {"d": {"text": "t", "tool": "lookup"}}, "reranker": {"on": True}}}

    assert validate_document(document) == document


@pytest.mark.parametrize(
    ("document", "code", "path"),
    [
        ([], "invalid_document", ""),
        ({"policy": {}}, "invalid_document", "/policy"),
        ({"prompt": []}, "invalid_document", "/prompt"),
        ({"prompt": {"rules": []}}, "invalid_document", "/prompt/rules"),
        ({"prompt": {"rules": {"a b": {"text": "x"}}}}, "invalid_document", "/prompt/rules/a b"),
        ({"prompt": {"rules": {"a": {"text": 1}}}}, "invalid_document", "/prompt/rules/a/text"),
        ({"tools": {"t": {"enabled": "yes"}}}, "invalid_document", "/tools/t/enabled"),
        ({"guardrails": {"rules": {"r": {"when": "x"}}}}, "invalid_document", "/guardrails/rules/r/then"),
        ({"context": {"documents": {"d": {"text": "t", "valid_until": "soon"}}}}, "invalid_document",
         "/context/documents/d/valid_until"),
        ({"tools": {"t": {"parameters": {"type": "objekt"}}}}, "invalid_tool_schema", "/tools/t/parameters/type"),
        ({"tools": {"t": {"parameters": {"$ref": "https://elsewhere.example/s"}}}}, "remote_reference",
         "/tools/t/parameters/$ref"),
        ({"tools": {"t": {"parameters": {"anyOf": [{"$ref": "other.json"}]}}}}, "remote_reference",
         "/tools/t/parameters/anyOf/0/$ref"),
        ({"tools": {"t": {"parameters": {"pattern": "a" * 201}}}}, "invalid_pattern", "/tools/t/parameters/pattern"),
        ({"tools": {"t": {"parameters": {"patternProperties": {"a" * 201: True}}}}}, "invalid_pattern",
         "/tools/t/parameters/patternProperties"),
        ({"tools": {"t": {"parameters": {"type": 3}}}}, "invalid_tool_schema", "/tools/t/parameters/type"),
        ({"model": {"parameters": {"temperature": float("nan")}}}, "not_finite", "/model/parameters/temperature"),
    ],
)  # fmt: skip
def test_validate_document__broken__is_refused_by_rule_and_path(document, code, path):
    with pytest.raises(DocumentError) as refused:
        validate_document(document)

    assert (refused.value.code, refused.value.path) == (code, path)


@pytest.mark.parametrize("pattern", ["(", "a{99999999999999999999}", "[z-a]", "(?<name>a)"])
def test_validate_document__pattern_that_does_not_compile__is_refused(pattern):
    with pytest.raises(DocumentError) as refused:
        validate_document({"tools": {"t": {"parameters": {"properties": {"a": {"pattern": pattern}}}}}})

    assert (refused.value.code, refused.value.path) == ("invalid_pattern", "/tools/t/parameters/properties/a/pattern")


def test_validate_document__many_problems__names_five_and_counts_the_rest():
    with pytest.raises(DocumentError, match="and 3 more"):
        validate_document({"prompt": {"rules": {f"r{number}": {} for number in range(8)}}})


def test_validate_document__local_reference_and_property_named_pattern__pass():
    parameters = {
        "type": "object",
        "properties": {"pattern": {"type": "string"}, "id": {"$ref": "#/$defs/id"}},
        "$defs": {"id": {"type": "string"}},
    }

    assert validate_document({"tools": {"t": {"parameters": parameters}}})


def test_overlay_document__items_of_a_user__stand_over_the_released_ones():
    overlay = validate_overlay({"memory": {"user": {"tone": "long", "name": "x"}}, "prompt": {"preferences": {}}})

    resolved = overlay_document(FULL, overlay)

    assert resolved["memory"] == {"rules": {}, "user": {"tone": "long", "name": "x"}}
    assert {layer: resolved[layer] for layer in LAYERS if layer != "memory"} == {
        layer: FULL[layer] for layer in LAYERS if layer != "memory"
    }
    assert FULL["memory"]["user"] == {"tone": "short"}


def test_resolved_digest__empty_overlay__is_the_versions_own():
    assert resolved_digest(FULL, {}) == digest_of(FULL)
    assert resolved_digest({}, {"memory": {"user": {}}}) == digest_of({})
    assert resolved_digest({}, {"memory": {"user": {"a": 1}}}) == digest_of({"memory": {"user": {"a": 1}}})


@pytest.mark.parametrize(
    ("overlay", "path"),
    [
        ([], ""),
        ({"guardrails": {"rules": {}}}, "/guardrails"),
        ({"prompt": {"system": "Obey me."}}, "/prompt/system"),
        ({"memory": {"rules": {}}}, "/memory/rules"),
        ({"memory": {"user": []}}, "/memory/user"),
        ({"memory": None}, "/memory"),
        ({"memory": {"user": {"a b": 1}}}, "/memory/user/a b"),
    ],
)
def test_validate_overlay__outside_the_users_own_names__is_refused(overlay, path):
    with pytest.raises(DocumentError) as refused:
        validate_overlay(overlay)

    assert refused.value.path == path


def test_validate_overlay__larger_than_allowed__is_refused():
    with pytest.raises(DocumentError) as refused:
        validate_overlay({"memory": {"user": {"note": "x" * 70_000}}})

    assert refused.value.code == "too_large"


RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tau_bench" / "tools"


def test_validate_document__recorded_tool_schemas__are_valid():
    files = sorted(RECORDED.glob("*.json"))
    if not files:
        pytest.skip(f"needs recorded tools in {RECORDED}")

    for file in files:
        functions = [tool["function"] for tool in json.loads(file.read_text())]
        tools = {one["name"]: {"description": one["description"], "parameters": one["parameters"]} for one in functions}
        assert validate_document({"tools": tools}) == {"tools": tools}
