"""Expressions: the same as Python where they are allowed, no way out, and always an end."""

import ast
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.scorers.sandbox import ExpressionError, Limits, Meter, TooMuchError, evaluate, read
from evals.scorers.sandbox.functions import FUNCTIONS, METHODS
from evals.scoring import Reply, score, validate_expectations

NAMES = {
    "n": 7,
    "x": 2.5,
    "t": "Hello World",
    "l": [3, 1, 2],
    "d": {"a": 1, "b": [1, 2]},
    "s": [{"name": "look"}, {"name": "pay"}],
}
SMALL = Limits(steps=50_000, cells=100_000)


def run(source, names=NAMES, limits=SMALL):
    return evaluate(read(source, names, limits), names, Meter(limits))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 2 * 3 - 4 / 2 // 1 % 5 ** 2", 1 + 2 * 3 - 4 / 2 // 1 % 5**2),
        ("not (n > 3 and x <= 2.5) or t == 'Hello World'", True),
        ("1 < n < 10 != x", True),
        ("[i * 2 for i in l if i > 1]", [6, 4]),
        ("{k: len(t) for k, v in d.items() if v == 1}", {"a": 11}),
        ("sum(i for row in [[1, 2], [3]] for i in row)", 6),
        ("sorted({i % 2 for i in range(9)}, reverse=True)", [1, 0]),
        ("t.lower().split()[-1][1:3]", "or"),
        ("', '.join(sorted(step['name'] for step in s))", "look, pay"),
        ("any(step['name'] == 'pay' for step in s) and all(l)", True),
        ("d['b'][0] if 'b' in d else None", 1),
        ("d.get('zz') is None and d.get('zz', 3) == 3", True),
        ("f'{n} of {len(l)}'", "7 of 3"),
        ("max([], default=0) + min(3, 1) + abs(-2) + round(2.567, 1)", 5.6),
        (r"matches('(?i)hello\\s+w', t)", True),
        ("{'a', 'b'} & {'b'} == {'b'} and {'a'}.issubset({'a', 'b'}) and set(l) - {3} == {1, 2}", True),
        ("list(zip([1, 2], 'ab')) == [(1, 'a'), (2, 'b')] and list(enumerate('a')) == [(0, 'a')]", True),
        ("int('12') + float('0.5') + bool(l) + len(str(n))", 14.5),
        ("list(reversed(l)) + [t.count('o'), l.index(2), t.replace('o', '').find('W')]", [2, 1, 3, 2, 2, 5]),
        ("2 ** 100 + (-3) ** 3", 2**100 - 27),
        ("[b for a in l for b in [a, a] if b != 3]", [1, 1, 2, 2]),
    ],
)
def test_evaluate__allowed_expression__gives_what_python_gives(source, value):
    assert run(source) == value


_numbers = st.integers(-5, 9).map(repr) | st.sampled_from(["n", "x", "0.5", "len(l)", "d['a']", "True"])
_lists = st.sampled_from(["l", "[1, 2, 2]", "d['b']", "list(range(n))", "[len(r['name']) for r in s]", "[]"])
_texts = st.sampled_from(["t", "'a b'", "t.upper()", "''", "str(n)", "f'{x}'"])


def _grown(inner):
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<", ">=", "==", "!=", "and", "or"]), inner)
        .map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda value: f"(-{value})"),
        inner.map(lambda value: f"(not {value})"),
        st.tuples(inner, inner, inner).map(lambda parts: "({} if {} else {})".format(*parts)),
        st.tuples(_lists, inner).map(lambda parts: f"sum([i + {parts[1]} for i in {parts[0]} if i > 1])"),
        st.tuples(_lists, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
        st.tuples(_lists, _lists).map(lambda parts: f"len({parts[0]} + {parts[1]} * 2)"),
        st.tuples(_lists, inner).map(lambda parts: f"({parts[1]} in {parts[0]})"),
        st.tuples(_texts, inner).map(lambda parts: f"len({parts[0]}[{parts[1]}:])"),
        st.tuples(_texts, _texts).map(lambda parts: f"({parts[0]} + {parts[1]}).count({parts[1]})"),
        _lists.map(lambda value: f"max({value}, default=0)"),
        _lists.map(lambda value: f"len(set({value}))"),
        inner.map(lambda value: f"round({value})"),
    )  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.recursive(_numbers, _grown, max_leaves=8))
def test_evaluate__any_allowed_expression__is_what_python_says(source):
    """Python itself is the oracle; where it fails we fail, where we refuse for size it may go on."""
    try:
        ours = run(source)
    except TooMuchError:
        return
    except ExpressionError:
        ours = ExpressionError
    builtins = {name: __builtins__[name] if isinstance(__builtins__, dict) else getattr(__builtins__, name)
                for name in FUNCTIONS if name != "matches"}  # fmt: skip
    try:
        theirs = eval(source, {"__builtins__": builtins}, dict(NAMES))  # noqa: S307 - the oracle, on our own grammar
    except Exception:  # noqa: BLE001 - whatever it fails with
        theirs = ExpressionError

    assert ours == pytest.approx(theirs, nan_ok=True) if isinstance(theirs, float) else ours == theirs


ESCAPES = [
    "().__class__.__base__.__subclasses__()", "''.__class__", "t.__len__()", "(1).__class__.__mro__", "t.format(t)",
    "'{0.__class__}'.format(t)", "f'{t.__class__}'", "f'{t!r}'", "f'{n:>9999999999}'", "__import__('os')",
    "eval('1')", "exec('1')", "open('/etc/passwd')", "getattr(t, 'upper')", "globals()", "locals()", "vars()", "type(t)",
    "print(t)", "input()", "compile('1', '', 'eval')", "lambda: 1", "(lambda x: x)(1)", "(y := 1)", "[*l]", "{**d}", "len(*l)",
    "len(**d)", "t.upper", "len", "[len][0](t)", "(len if n else abs)(t)", "d['a'](t)", "t.encode()", "l.append(1)", "l.clear()",
    "d.pop('a')", "d.update({'a': 2})", "l.sort()", "n.bit_length()", "x.hex()", "x.as_integer_ratio()", "1j", "b'a'", "...",
    "[i for i.real in l]", "[i for l[0] in l]", "[__builtins__ for a in l]", "[1 for __class__ in l]", "[1 for len in l]",
    "__builtins__", "_", "l @ l", "1 << 9", "~n", "n ^ 2", "await t", "yield t", "(yield)", "[a async for a in l]", "t is t",
    "l[...]", "(a for a in l).gi_frame", "sorted(l, key=len)", "sorted(l, **{})", "max(l, key=abs)", "t.join", "str.upper(t)",
    "().count.__self__", "nosuch", "help()", "breakpoint()", "exit()", "a = 1", "a; b", "import os", "del l", "match(t)", "{1: 2}.x",
]  # fmt: skip


@pytest.mark.parametrize("source", ESCAPES)
def test_read__way_out__is_refused_before_anything_runs(source):
    with pytest.raises(ExpressionError):
        read(source, NAMES)


@pytest.mark.parametrize(
    "source",
    ["l + t", "n + t", "t * x", "-t", "abs(t)", "sum(['a'])", "sum([l])", "len(n)", "[a for a in n]", "n[0]", "d['zz']", "l[9]",
     "1 / 0", "int('x')", "int(l)", "{l: 1}", "{(1, l): 2}", "[a for a in {1, 2}]", "str(l)", "f'{d}'", "n in t", "'%s' % t",
     "(-8) ** 0.5", "d & d", "a if n else [a for a in l]", "[a for a, b in l]", "sorted([1, 'a'])", "len(t, t)", "t.split(1)",
     "matches('(', t)", "matches(n, t)", "round(n, 99)", "range(x)", "l['a']", "l[x:]", "{2 ** 61}", "set(l).union(l)", "n.upper()",
     "len()", "l.index(99)", "float('1' * 61)"],
)  # fmt: skip
def test_evaluate__senseless_on_this_data__fails_in_words(source):
    with pytest.raises(ExpressionError) as failed:
        run(source)

    assert len(str(failed.value)) > 10
    assert not isinstance(failed.value, TooMuchError)


BOMBS = [
    "9 ** 9 ** 9", "2 ** 10 ** 9", "2 ** -(10 ** 9)", "(2 ** 255) * (2 ** 255)", "'a' * 10 ** 9", "[0] * 10 ** 9", "t * 2 ** 200",
    "10 ** 9 * ('a',)", "range(2 ** 30)", "list(range(90000)) * 9", "[1 for a in range(900) for b in range(900)]",
    "sum([i for i in range(20000) for j in range(20000)])", "'a'.join(['b' * 9999 for i in range(9999)])",
    "(('x' * 9999).replace('x', 'y' * 999))", "['a' * 9999 for i in range(99)]", "{i for i in range(9999)}",
    "{i: i for i in range(9999)}", "[sorted(range(9000), reverse=True) for i in range(99)]",
    "[t in ('a' * 9000) for i in range(9000)]", "[matches('a', t) for i in range(9000)]", "[l == l for i in range(90000)]",
    "set([i for i in range(90000)])", "len('a' * 99999 + 'b' * 99999)", "[f'{t * 999}' for i in range(99)]",
    # What is shared is small in memory and endless when it is walked: each loop doubles it.
    "x9 == x9 for x9 in [1]", "[1 for a in [[1, 1]] " + "".join(f"for {b} in [[{a}, {a}]] " for a, b in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True)) + "if q == q]",
    "[1 for a in [(1, 1)] " + "".join(f"for {b} in [({a}, {a})] " for a, b in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True)) + "if [q].count(q)]",
]  # fmt: skip


@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_evaluate__runaway__is_refused_with_little_memory(source):
    tracemalloc.start()
    with pytest.raises(ExpressionError):
        run(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 32_000_000


@pytest.mark.parametrize(
    "source",
    ["1" + "+1" * 999, "not " * 400 + "1", "-" * 1_500 + "1", "[" * 90 + "]" * 90, "9" * 1_900, "a" * 2_001,
     "", "   ", "\x00", "\ud800", "'", "1 if", "{" * 500, "[i for i in l" + " for i in l" * 100 + "]"],
)  # fmt: skip
def test_read__too_large_or_broken_text__is_refused(source):
    with pytest.raises(ExpressionError):
        read(source, NAMES)


_TOKENS = st.sampled_from([
    "__class__", "__globals__", "__import__", "t", "l", "d", "n", "s", "len", "sorted", "str", "sum", "range", "matches", ".", ".", "(",
    ")", "[", "]", "{", "}", ",", ":", "=", "==", "+", "*", "**", "if", "else", "for", "in", "lambda", "not", "and", "is", "f'{t}'",
    "'a'", "9", "0.5", "upper", "join", "format", "get", "items", " ", ":=", "async", "await", "@", "None",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(_TOKENS, max_size=25).map(" ".join) | st.text(max_size=40) | st.sampled_from(ESCAPES + BOMBS))
def test_run__any_text__ends_in_a_plain_value_or_a_refusal(source):
    meter = Meter(SMALL)
    try:
        value = evaluate(read(source, NAMES, SMALL), NAMES, meter)
    except ExpressionError:
        return

    assert meter.num_steps <= SMALL.steps
    assert isinstance(value, bool | int | float | str | list | tuple | dict | set | None)


def test_run__data__is_left_as_it_was():
    names = {"l": [3, 1], "d": {"a": [1]}}

    run("[sorted(l), l + l, list(d.items()), d['a'] * 2, l[::-1], list(l)]", names)

    assert names == {"l": [3, 1], "d": {"a": [1]}}


def test_run__same_expression_twice__takes_the_same_steps():
    tree = read("sum(len(w) for w in t.split()) > 3", NAMES)
    meters = [Meter(SMALL), Meter(SMALL)]

    for meter in meters:
        evaluate(tree, NAMES, meter)

    assert meters[0].num_steps == meters[1].num_steps > 0


def test_tree__of_every_node_python_has__is_allowed_or_refused_by_name():
    """A new kind of expression in a later Python is not let in by forgetting it."""
    from evals.scorers.sandbox.evaluating import _WALKS
    from evals.scorers.sandbox.reading import _ALLOWED

    walked = {node for node in _ALLOWED if issubclass(node, ast.expr)} - {ast.Attribute}
    assert walked == set(_WALKS)
    assert not METHODS & {"format", "format_map", "encode", "mro", "pop", "append"}
    assert not any(name.startswith("_") for name in METHODS | set(FUNCTIONS))


@pytest.mark.parametrize(
    ("expression", "reply", "thousandths", "said"),
    [
        ("'refund' in text.lower()", Reply({"text": "A Refund"}), 1000, "the expression holds"),
        ("tools == ['lookup', 'pay']", Reply(steps=[{"kind": "tool_call", "name": "lookup"}]), 0, "the expression gives 0"),
        ("sum(word in text for word in ['a', 'b']) / 2", Reply({"text": "a"}), 500, "gives 0.5"),
        ("state['paid'] and handed_off and 'x' in sources", Reply({"handoff": True, "sources": ["x"]}, state={"paid": True}), 1000, ""),
        ("len(messages) == 2 and said[-1] == text", Reply(
            {"text": "b"}, messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]), 1000, ""),
        ("state['paid']", Reply(), 0, "reads the member 'paid', and there is none"),
        ("len(text)", Reply({"text": "abc"}), 0, "neither true or false nor a number from 0 to 1"),
        ("text", Reply({"text": "abc"}), 0, "neither true or false"),
        ("sum([1 for a in text for b in text]) > 0", Reply({"text": "a" * 5_000}), 0, "takes more than 200,000 steps"),
        ("output['n'] > 0", Reply({"n": float("nan")}), 0, "cannot read this reply"),
    ],
)  # fmt: skip
def test_expression__reply__is_scored_with_a_reason(expression, reply, thousandths, said):
    validate_expectations({"expression": expression})

    scored = score({"expression": expression}, reply)

    assert (scored.score, said in scored.rationale) == (thousandths, True), scored.rationale
