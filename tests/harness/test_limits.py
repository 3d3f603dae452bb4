import pytest

from harness import sensitive
from harness.limits import (
    BUDGETS,
    CLAIMS,
    PatchLimits,
    is_risky_pattern,
    prompt_characters,
    prompt_growth_refusals,
    refusals,
)
from harness.patches import diff

BASE = {
    "prompt": {"system": "Help the customer.", "rules": {"tone": {"text": "Be kind."}}},
    "tools": {"lookup_order": {"parameters": {"type": "object", "properties": {"id": {"type": "string"}}}}},
    "context": {"documents": {"returns": {"title": "Returns", "text": "30 days. Write to jo@shop.example."}}},
    "guardrails": {"rules": {}},
}
LIMITS = PatchLimits()


def add(path, value):
    return [{"op": "add", "path": path, "value": value}]


def codes(patch, claim="fixes", author_kind="machine", limits=LIMITS, **more):
    found = refusals(BASE, patch, claim, author_kind, limits, **more)
    assert all(refusal.sentence.endswith(".") for refusal in found)
    return [refusal.code for refusal in found]


def text_of(lines):
    return "".join(f"line {number}\n" for number in range(lines))


@pytest.mark.parametrize(
    "patch",
    [
        add("/context/documents/shipping", {"title": "Shipping", "text": text_of(40)}),
        add("/tools/lookup_order/parameters/properties/id/pattern", "[A-Z]{2}-?[0-9]{5}"),
        add("/tools/lookup_order/code", text_of(90)),
        add("/prompt/rules/refund", {"position": 5, "text": "Name the deadline."}),
        add("/memory", {"rules": {"greeting": "Use names."}}),
        add("/model", {"parameters": {"temperature": 0}}),
    ],
)
@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim != "simplifies"])
def test_refusals__one_small_change__are_none(patch, claim):
    assert codes(patch, claim) == []


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ([], "invalid_patch"),
        ({"op": "add"}, "invalid_patch"),
        (add("", {}), "whole_document"),
        (add("/prompt/x", 1) + add("/tools/x", {}), "several_layers"),
        (add("/objective", {}), "immutable"),
        (add("/policy/gate", {}), "immutable"),
        (add("/benchmark", "b"), "immutable"),
        (add("/Judges", "b"), "immutable"),
        (add("/extra", {}), "unknown_layer"),
        (add("/prompt/a/b/c", 1), "does_not_fit"),
        ([{"op": "test", "path": "/prompt/system", "value": "other"}, *add("/prompt/system", "x")], "test_failed"),
        (add("/prompt/system", "Help the customer."), "no_change"),
        ([{"op": "test", "path": "/prompt/system", "value": "Help the customer."}], "no_change"),
        (add("/prompt/rules/tone/text", 3), "invalid_document"),
        (add("/tools/lookup_order/parameters/type", "objekt"), "invalid_tool_schema"),
        (add("/prompt/system", "x\x00"), "nul"),
    ],
)
def test_refusals__one_broken_law__is_named(patch, code):
    assert codes(patch) == [code]


@pytest.mark.parametrize("layer", ["prompt", "workflow", "guardrails", "model", "memory", "evals"])
def test_refusals__sixteen_lines_in_a_layer_of_fifteen__are_too_many(layer):
    base = {layer: {}}
    allowed = diff(base, {layer: {f"n{number}": number for number in range(15)}})
    too_many = diff(base, {layer: {f"n{number}": number for number in range(16)}})

    assert refusals(base, allowed, "fixes", "person", LIMITS) == []
    assert [one.code for one in refusals(base, too_many, "fixes", "person", LIMITS)] == ["too_large"]


def test_refusals__document_code_and_retrieval__have_budgets_of_their_own():
    assert codes(add("/context/documents/long", {"text": text_of(70)})) == ["too_large"]
    assert codes(add("/tools/lookup_order/code", text_of(110))) == ["too_large"]
    assert codes(add("/context/retrieval", {f"n{number}": 1 for number in range(16)})) == ["too_large"]
    assert codes(add("/tools/lookup_order/settings", {f"n{number}": 1 for number in range(16)})) == ["too_large"]


def test_refusals__policy_with_a_smaller_budget__is_obeyed():
    limits = PatchLimits(lines={"prompt": 0}, max_operations=1)

    assert codes(add("/prompt/system", "x"), limits=limits) == ["too_large"]
    assert codes(add("/prompt/a", 1) + add("/prompt/b", 1), limits=limits) == ["too_many_operations"]
    assert codes(add("/context/documents/d", {"text": "t"}), limits=limits) == []


def test_refusals__guardrails__are_for_people_only():
    patch = add("/guardrails/rules/legal", {"when": "lawyer", "then": "escalate"})

    assert codes(patch, author_kind="machine") == ["machine_guardrails"]
    assert codes(patch, author_kind="person") == []


def test_refusals__guardrails_only_tested_or_copied_from__count_as_touched():
    patch = [{"op": "copy", "from": "/guardrails/rules", "path": "/prompt/rules/copied"}]

    assert codes(patch) == ["several_layers"]


def test_refusals__claim__must_be_known_and_simplifies_must_shrink():
    assert codes(add("/prompt/x", 1), claim="improves") == ["unknown_claim"]
    assert codes(add("/prompt/x", 1), claim="simplifies") == ["not_simpler"]
    assert codes([{"op": "remove", "path": "/prompt/rules/tone"}], claim="simplifies") == []


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "sk-proj-" + "a1B2" * 8,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "-----BEGIN PRIVATE KEY-----\n" + "MIIE" * 30 + "\n-----END PRIVATE KEY-----",
        "api_key = 'k9f8d7s6a5f4d3s2'",
        "postgres://shop:hunter2@db/shop",
        "maria.lopez@mailbox.org",
        "4111 1111 1111 1111",
        "DE89 3704 0044 0532 0130 00",
        "GB29NWBK60161331926819",
    ],
)
def test_refusals__secret_or_personal_data_added__is_refused_without_repeating_it(secret):
    patch = add("/context/documents/faq", {"text": f"Use {secret} now."})

    found = refusals(BASE, patch, "fixes", "person", LIMITS)

    assert [one.code for one in found] == ["sensitive_data"]
    assert secret not in found[0].sentence


@pytest.mark.parametrize(
    "text",
    [
        "support@shop.com",
        "someone@example.com",
        "4111 1111 1111 1112",
        "Order KL-48213 of 2026-01-02",
        "DE89 3704 0044 0532 0130 01",
        "password: choose a long one",
        "0000000000000000",
        "the api_key parameter",
    ],
)
def test_find__what_only_looks_like_it__is_left_alone(text):
    assert sensitive.find(text) == []


def test_find__chosen_kinds__are_the_only_ones_found_and_cut():
    text = "maria.lopez@mailbox.org paid with 4111111111111111."

    assert [one.kind for one in sensitive.find(text)] == ["email", "card"]
    assert sensitive.redact(text, ["card"]) == "maria.lopez@mailbox.org paid with [card]."
    assert sensitive.redact(text) == "[email] paid with [card]."


def test_refusals__secret_in_a_list_or_a_name__is_found():
    key = "AKIAIOSFODNN7EXAMPLE"

    assert codes(add("/context/documents/faq", {"text": "t", "tags": ["fine", key]})) == ["sensitive_data"]
    assert codes(add("/memory", {"rules": {key: 1}})) == ["sensitive_data"]


def test_find__long_text_without_findings__takes_no_noticeable_time():
    assert sensitive.find("a.b-c@ 4 1 " * 40_000) == []


def test_refusals__sensitive_text_already_in_the_base__is_not_the_patchs_fault():
    base = {"context": {"documents": {"d": {"text": "Ask maria.lopez@mailbox.org."}}}}
    patch = add("/context/documents/d/text", "Please ask maria.lopez@mailbox.org.")

    assert refusals(base, patch, "fixes", "machine", LIMITS) == []


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|ab)*c", "^(\\d+)*$", "((ab)?c)+", "(?:x{1,3}){2,}", "(?P<n>a*)+"])
def test_is_risky_pattern__group_that_varies_and_repeats__is_risky(pattern):
    assert is_risky_pattern(pattern)
    assert "risky_pattern" in codes(add("/tools/lookup_order/parameters/properties/id/pattern", pattern))


@pytest.mark.parametrize(
    "pattern", ["[A-Z]{2}-?[0-9]{5}", "(ab)+", "(a|b)", "\\(a+\\)+", "[(a+)]+", "(?:\\d{3}-)*x", ""]
)
def test_is_risky_pattern__plain_repetition__is_not(pattern):
    assert not is_risky_pattern(pattern)


@pytest.mark.parametrize(
    ("week_ago", "now", "allowed"), [(0, 600, True), (0, 601, False), (20_000, 21_000, True), (20_000, 21_001, False)]
)
def test_prompt_growth__share_or_floor__whichever_is_greater(week_ago, now, allowed):
    assert (prompt_growth_refusals(week_ago, now, LIMITS) == []) is allowed


def test_refusals__prompt_that_grew_all_week__is_refused_by_growth():
    patch = add("/prompt/rules/more", {"text": "x" * 700})

    assert codes(patch, prompt_chars_week_ago=prompt_characters(BASE)) == ["prompt_growth"]
    assert codes(patch, prompt_chars_week_ago=prompt_characters(BASE) + 400) == []


def test_budgets__every_layer__has_one():
    assert {part.split(".")[0] for part in BUDGETS} == {
        "prompt", "tools", "workflow", "context", "memory", "guardrails", "evals", "model",
    }  # fmt: skip
