import copy

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.canonical import DocumentError, canonical_bytes, is_same, pointer
from harness.documents import LAYERS
from harness.lines import COLUMNS, over_budget, pretty, readable_diff, size, sizes
from harness.patches import (
    Conflict,
    Missing,
    PatchError,
    apply,
    changes,
    diff,
    invert,
    layer_of,
    layers_of,
    read_patch,
    rebase,
)
from tests.harness.json_values import DOCUMENTS, NAMES, UNHURRIED, VALUES

POINTERS = st.lists(st.one_of(st.sampled_from([*LAYERS, "-", "0", "1"]), NAMES), max_size=4).map(pointer)
OPERATIONS = st.one_of(
    st.builds(lambda op, path: {"op": op, "path": path}, st.just("remove"), POINTERS),
    st.builds(
        lambda op, path, value: {"op": op, "path": path, "value": value},
        st.sampled_from(["add", "replace", "test"]), POINTERS, VALUES,
    ),
    st.builds(
        lambda op, start, path: {"op": op, "from": start, "path": path},
        st.sampled_from(["move", "copy"]), POINTERS, POINTERS,
    ),
)  # fmt: skip


@UNHURRIED
@given(DOCUMENTS, DOCUMENTS)
@example({"prompt": {"a": True}}, {"prompt": {"a": 1}})
@example({"prompt": {"a": {}}}, {"prompt": {"a": []}})
@example({"prompt": {"a": {"b": 1}}}, {})
def test_diff__applied_to_its_base__gives_the_target(base, target):
    before = copy.deepcopy(base)
    patch = diff(base, target)

    assert (patch == []) == is_same(base, target)
    if patch:
        assert is_same(apply(base, patch), target)
    assert base == before


@UNHURRIED
@given(DOCUMENTS, DOCUMENTS)
def test_invert__applied_after_the_patch__gives_the_base_back(base, target):
    patch = diff(base, target)
    assume(patch)

    assert is_same(apply(target, invert(base, patch)), base)


@UNHURRIED
@given(DOCUMENTS, DOCUMENTS, VALUES)
def test_diff__on_a_document_that_differs_where_it_replaces__fails_its_own_test(base, target, value):
    replaced = next((change for change in changes(base, target) if not isinstance(change.old, Missing)), None)
    assume(replaced is not None and not is_same(replaced.old, value))
    other = apply(base, [{"op": "replace", "path": pointer(replaced.path), "value": value}])

    with pytest.raises(PatchError) as refused:
        apply(other, diff(base, target))

    assert refused.value.code == "test_failed"


@UNHURRIED
@given(DOCUMENTS, st.lists(OPERATIONS, min_size=1, max_size=4))
def test_layers_of__any_patch__holds_every_layer_that_changes(base, patch):
    try:
        layers = layers_of(patch)
    except PatchError as error:
        assert error.code == "whole_document"
        return
    try:
        target = apply(base, patch)
    except DocumentError:
        return

    assert {change.path[0] for change in changes(base, target)} <= layers


@UNHURRIED
@given(DOCUMENTS, st.lists(OPERATIONS, min_size=1, max_size=4))
def test_apply__any_patch__returns_clean_json_or_refuses(base, patch):
    before = canonical_bytes(base)
    try:
        target = apply(base, patch)
    except DocumentError as error:
        assert str(error).endswith(".")
    else:
        assert canonical_bytes(target)
    assert canonical_bytes(base) == before


@UNHURRIED
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_rebase__two_changes_of_different_layers__give_both_in_either_order(base, mine, theirs):
    prompt = {**base, "prompt": mine.get("prompt", {})}
    tools = {**base, "tools": theirs.get("tools", {})}
    patch, other = diff(base, prompt), diff(base, tools)
    assume(patch)
    assume(other)

    rebased = rebase(patch, old_base=base, new_base=tools)

    assert not isinstance(rebased, Conflict)
    assert is_same(apply(tools, rebased), apply(prompt, other))


@UNHURRIED
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_rebase__any_three_documents__loses_neither_change_or_names_the_path(base, mine, theirs):
    patch = diff(base, mine)
    assume(patch)

    rebased = rebase(patch, old_base=base, new_base=theirs)

    if isinstance(rebased, Conflict):
        assert rebased.code == "already_there" or rebased.path.startswith("/")
        return
    merged = apply(theirs, rebased)
    touched = {change.path for change in changes(base, mine)}
    for change in changes(base, theirs):
        if not any(change.path[: len(path)] == path or path[: len(change.path)] == change.path for path in touched):
            assert change not in changes(merged, theirs)
    assert not isinstance(rebase(patch, old_base=base, new_base=base), Conflict)


@UNHURRIED
@given(DOCUMENTS, DOCUMENTS)
def test_size__either_direction__is_the_same_and_zero_only_for_equals(base, target):
    assert size(base, target) == size(target, base)
    assert (size(base, target) == 0) == is_same(base, target)


@UNHURRIED
@given(DOCUMENTS, DOCUMENTS)
def test_readable_diff__whole__holds_both_documents_lines(base, target):
    lines = readable_diff(base, target, context=None)

    if is_same(base, target):
        assert lines == []
        return
    assert [line.text for line in lines if line.kind != "added"] == [line.text for line in pretty(base)]
    assert [line.text for line in lines if line.kind != "removed"] == [line.text for line in pretty(target)]


@UNHURRIED
@given(DOCUMENTS)
def test_pretty__any_document__keeps_text_within_the_columns(document):
    for line in pretty(document):
        assert "\n" not in line.text
        assert len(line.text) <= 8 * COLUMNS  # escapes and indentation come on top of 100 columns of text


BASE = {
    "prompt": {"system": "Help the customer.", "rules": {"tone": {"text": "Be kind."}}},
    "context": {"documents": {"returns": {"title": "Returns", "text": "30 days."}}},
}


def test_diff__changed_text__tests_it_before_replacing():
    target = {**BASE, "prompt": {**BASE["prompt"], "system": "Help."}}

    assert diff(BASE, target) == [
        {"op": "test", "path": "/prompt/system", "value": "Help the customer."},
        {"op": "replace", "path": "/prompt/system", "value": "Help."},
    ]


@pytest.mark.parametrize(
    ("patch", "layer"),
    [
        ([{"op": "add", "path": "/prompt/system", "value": ""}], "prompt"),
        ([{"op": "add", "path": "/prompt", "value": {}}], "prompt"),
        ([{"op": "add", "path": "/a~1b/c", "value": 1}], "a/b"),
        ([{"op": "add", "path": "/", "value": 1}], ""),
    ],
)
def test_layer_of__one_layer__is_its_unescaped_name(patch, layer):
    assert layer_of(patch) == layer


@pytest.mark.parametrize(
    "second",
    [
        {"op": "test", "path": "/tools/x", "value": 1},
        {"op": "move", "from": "/guardrails/rules", "path": "/prompt/rules"},
        {"op": "copy", "from": "/tools/x", "path": "/prompt/x"},
        {"op": "remove", "path": "/prompt~0"},
    ],
)
def test_layer_of__second_layer_in_any_member__is_refused(second):
    with pytest.raises(PatchError) as refused:
        layer_of([{"op": "remove", "path": "/prompt/system"}, second])

    assert refused.value.code == "several_layers"


def test_layers_of__whole_document__is_refused():
    with pytest.raises(PatchError) as refused:
        layers_of([{"op": "replace", "path": "", "value": {}}])

    assert refused.value.code == "whole_document"


@pytest.mark.parametrize(
    "patch",
    [
        None, {}, [], ["add"], [{"op": "add"}], [{"op": "add", "path": "/a"}], [{"op": "move", "path": "/a"}],
        [{"op": "frob", "path": "/a"}], [{"op": "remove", "path": "a"}], [{"op": "remove", "path": 3}],
        [{"op": "remove", "path": "/~2"}], [{"op": ["add"], "path": "/a", "value": 1}],
    ],
)  # fmt: skip
def test_read_patch__malformed__is_refused(patch):
    with pytest.raises(PatchError) as refused:
        read_patch(patch)

    assert refused.value.code == "invalid_patch"


def test_read_patch__unknown_members__are_dropped():
    assert read_patch([{"op": "remove", "path": "/a", "value": 1, "why": "x"}]) == [{"op": "remove", "path": "/a"}]


def test_apply__copies_that_double_the_document__are_stopped():
    patch = [{"op": "add", "path": "/memory", "value": {"a": "x" * 1000}}]
    patch += [{"op": "copy", "from": "/memory", "path": f"/memory/c{number}"} for number in range(40)]

    with pytest.raises(PatchError) as refused:
        apply({}, patch)

    assert refused.value.code in {"too_large", "too_deep"}


def test_rebase__same_text_changed_by_both__names_the_path():
    mine = diff(BASE, {**BASE, "prompt": {**BASE["prompt"], "system": "Mine."}})
    theirs = {**BASE, "prompt": {**BASE["prompt"], "system": "Theirs."}}

    conflict = rebase(mine, old_base=BASE, new_base=theirs)

    assert isinstance(conflict, Conflict)
    assert (conflict.code, conflict.path) == ("conflict", "/prompt/system")


def test_rebase__two_new_items_in_a_new_collection__keeps_both():
    mine = [{"op": "add", "path": "/memory", "value": {"rules": {"a": 1}}}]

    rebased = rebase(mine, old_base=BASE, new_base={**BASE, "memory": {"rules": {"b": 2}}})

    assert rebased == [{"op": "add", "path": "/memory/rules/a", "value": 1}]


@pytest.mark.parametrize("path", ["/tools/lookup", "/context/documents/faq"])
def test_rebase__both_add_the_same_item_differently__is_a_conflict_not_a_blend(path):
    layer, *_ = path[1:].split("/")
    base = {layer: {"documents": {}}} if layer == "context" else {layer: {}}
    mine = [{"op": "add", "path": path, "value": {"text": "mine"}}]
    theirs = apply(base, [{"op": "add", "path": path, "value": {"title": "theirs"}}])

    conflict = rebase(mine, old_base=base, new_base=theirs)

    assert isinstance(conflict, Conflict)
    assert conflict.path == path


def test_rebase__parent_removed_meanwhile__is_a_conflict():
    mine = [{"op": "add", "path": "/prompt/rules/tone/position", "value": 3}]

    conflict = rebase(mine, old_base=BASE, new_base={"prompt": {"system": "x"}})

    assert isinstance(conflict, Conflict)


def test_rebase__change_already_in_the_newer_base__says_so():
    mine = [{"op": "replace", "path": "/prompt/system", "value": "New."}]

    conflict = rebase(mine, old_base=BASE, new_base=apply(BASE, mine))

    assert isinstance(conflict, Conflict)
    assert conflict.code == "already_there"


def test_size__one_reworded_line__counts_once():
    assert size(BASE, apply(BASE, [{"op": "replace", "path": "/prompt/system", "value": "Help."}])) == 1


def test_size__last_member_added__does_not_count_its_neighbor():
    assert size(BASE, apply(BASE, [{"op": "add", "path": "/prompt/tail", "value": 1}])) == 1


def test_size__lines_of_a_text__count_by_line():
    text = "".join(f"- rule {number}\n" for number in range(30))
    base = {"prompt": {"system": text}}
    target = {"prompt": {"system": text.replace("rule 3\n", "rule three\n").replace("- rule 20\n", "")}}

    assert size(base, target) == 2


def test_size__long_line__breaks_at_spaces_within_100_columns():
    base = {"prompt": {"system": ""}}
    target = {"prompt": {"system": "word " * 60}}

    assert [len(line.text.strip()) for line in pretty(target)[3:-3]] == [99, 99, 99]
    assert size(base, target) == 5


def test_sizes__parts_with_their_own_budget__are_counted_apart():
    base = {"tools": {"t": {"code": "a\nb\nc\n", "description": "x"}}, "context": {"retrieval": {"top_k": 3}}}
    target = {
        "tools": {"t": {"code": "a\nB\nc\n", "description": "y", "tests": "assert True"}},
        "context": {"retrieval": {"top_k": 4}, "documents": {"d": {"text": "t"}}},
    }

    assert sizes(base, target) == {"tools": 1, "tools.code": 2, "context": 1, "context.documents": 5}


def test_over_budget__part_without_budget__allows_nothing():
    target = apply(BASE, [{"op": "replace", "path": "/prompt/system", "value": "Help."}])

    assert [(one.part, one.size, one.budget) for one in over_budget(BASE, target, {})] == [("prompt", 1, 0)]
    assert over_budget(BASE, target, {"prompt": 1}) == []


def test_readable_diff__small_change_in_a_large_document__skips_what_is_far_away():
    base = {"memory": {"rules": {f"r{number:03}": number for number in range(100)}}}
    target = apply(base, [{"op": "replace", "path": "/memory/rules/r050", "value": -1}])

    lines = readable_diff(base, target)

    assert [line.kind for line in lines] == ["skipped", *["same"] * 3, "removed", "added", *["same"] * 3, "skipped"]
    assert lines[0].text == "50 unchanged lines"


def test_size__thousands_of_equal_lines__is_found_in_reasonable_time():
    base = {"memory": {"rules": {"list": ["x"] * 20_000 + ["end"]}}}
    target = {"memory": {"rules": {"list": ["y", *["x"] * 19_000]}}}

    assert size(base, target) > 1000
