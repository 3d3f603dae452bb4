"""The shop's folder holds what it promises, and the loader refuses what it cannot play, naming file and line."""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from demo.agent.retrieval import index, rank
from demo.scenario import (
    POOLS,
    Answer,
    Customers,
    Scenario,
    ScenarioError,
    Utterance,
    fill,
    load,
    without_defect,
)
from harness.documents import validate_document
from harness.limits import PatchLimits, refusals
from harness.patches import apply
from harness.sensitive import find
from inference.encoder import encode

SHOP = Path(__file__).parents[2] / "platform" / "demo" / "scenarios" / "shop"
SIZES = {"live": 10, "dev": 4, "verify": 12, "holdout": 8, "meter": 10}
ORDER_ID = re.compile(r"[A-Z]{2}-[0-9]{5}")
BARE_CSV = "text,intent\nwhen do you open,hours\nuntil what time are you open,hours\nwhere are you,place\n"


@pytest.fixture(scope="module")
def shop() -> Scenario:
    return load(SHOP)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    (tmp_path / "answers").mkdir()
    (tmp_path / "utterances.csv").write_text(BARE_CSV, encoding="utf-8")
    (tmp_path / "answers" / "hours.md").write_text("We open at nine. Always.\n", encoding="utf-8")
    (tmp_path / "answers" / "place.md").write_text("By the river, pier 4\n", encoding="utf-8")
    return tmp_path


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def fires(phrase: str, text: str) -> bool:
    return all(any(word.startswith(part) for word in words(text)) for part in words(phrase))


# -- the shop


def test_shop__its_utterances__fill_every_pool_of_thirty_intents(shop: Scenario) -> None:
    counts = Counter((utterance.intent, utterance.pool) for utterance in shop.utterances)

    assert len(shop.intents) == 30
    assert len(shop.utterances) == 1320
    assert counts == {(intent, pool): size for intent in shop.intents for pool, size in SIZES.items()}


def test_shop__its_pools__share_no_template_and_no_text(shop: Scenario) -> None:
    pools = defaultdict(set)
    for utterance in shop.utterances:
        pools[utterance.template].add(utterance.pool)

    assert all(len(where) == 1 for where in pools.values())
    assert len({" ".join(words(utterance.text)) for utterance in shop.utterances}) == 1320


def test_shop__texts_of_different_pools__are_no_near_duplicates(shop: Scenario) -> None:
    bags = [(frozenset(words(utterance.text)), utterance) for utterance in shop.utterances]

    near = [
        (one.text, other.text)
        for place, (left, one) in enumerate(bags)
        for right, other in bags[:place]
        if one.pool != other.pool and 5 * len(left & right) > 4 * len(left | right)
    ]

    assert near == []


def test_shop__its_texts__vary_from_three_words_to_more_than_thirty_five(shop: Scenario) -> None:
    lengths = [len(utterance.text.split()) for utterance in shop.utterances]

    assert min(lengths) >= 3
    assert 35 <= max(lengths) <= 45


def test_shop__tool_intents__name_an_order_behind_another_number(shop: Scenario) -> None:
    tools = {intent for intent, answer in shop.answers.items() if answer.tool == "lookup_order"}
    asking = [utterance for utterance in shop.utterances if utterance.intent in tools]
    misled = sum(any(letter.isdigit() for letter in utterance.text.partition("{order}")[0]) for utterance in asking)

    assert len(tools) == 6
    assert {utterance.intent for utterance in shop.utterances if utterance.needs_order} == tools
    assert all(utterance.needs_order for utterance in asking)
    assert misled >= 0.9 * len(asking)
    assert 0.2 <= sum(shop.shares()[intent] for intent in tools) <= 0.23


def test_shop__numbers_beside_the_order__are_no_order_numbers(shop: Scenario) -> None:
    digits = {re.sub(r"\D", "", order_id) for order_id in shop.backend.tables["lookup_order"]}
    beside = {
        re.sub(r"\D", "", token)
        for utterance in shop.utterances
        for token in re.findall(r"[\w-]*\d[\w-]*", utterance.text)
    }

    assert not digits & beside


def test_shop__facts__belong_to_one_answer_alone(shop: Scenario) -> None:
    for answer in shop.answers.values():
        assert 1 <= len(answer.facts) <= 3
        for fact in answer.facts:
            holders = [other.intent for other in shop.answers.values() if fact.lower() in other.text.lower()]
            assert holders == [answer.intent]


def test_shop__facts_of_tool_intents__fill_from_every_order(shop: Scenario) -> None:
    for answer in shop.answers.values():
        for row in shop.backend.tables["lookup_order"].values() if answer.tool else [{}]:
            reply = fill(answer.text, row)
            assert "{" not in reply
            assert all(fact in reply for fact in answer.facts_for(row))


def test_shop__orders_and_recordings__agree(shop: Scenario) -> None:
    orders = shop.backend.tables["lookup_order"]

    assert len(orders) >= 400
    assert all(ORDER_ID.fullmatch(order_id) for order_id in orders)
    assert shop.recordings == {"lookup_order": {re.sub(r"\D", "", order_id): row for order_id, row in orders.items()}}


def test_shop__its_documents__pass_the_platforms_own_checks(shop: Scenario) -> None:
    for document in (shop.starting_document(), shop.ceiling_document()):
        validate_document(document)
        assert not find(json.dumps(document, ensure_ascii=False))


def test_shop__its_start__misses_five_documents_and_the_pattern(shop: Scenario) -> None:
    start, ceiling = shop.starting_document(), shop.ceiling_document()

    assert len(shop.missing) == 5
    assert set(ceiling["context"]["documents"]) - set(start["context"]["documents"]) == set(shop.missing)
    assert "pattern" not in start["tools"]["lookup_order"]["parameters"]["properties"]["order_id"]
    assert "pattern" in ceiling["tools"]["lookup_order"]["parameters"]["properties"]["order_id"]


def test_shop__its_own_guardrail__fires_on_no_utterance(shop: Scenario) -> None:
    phrases = [rule["when"] for rule in shop.harness["guardrails"]["rules"].values()]

    assert phrases
    assert not [u.text for u in shop.utterances for phrase in phrases if fires(phrase, u.text)]


def test_shop__a_document_is_found__for_most_texts_and_every_intent(shop: Scenario) -> None:
    found, absent = retrieved(shop, shop.ceiling_document()), retrieved(shop, shop.starting_document())
    right = Counter(u.intent for u in shop.utterances if found[u.text] == u.intent)

    assert sum(right.values()) >= 0.88 * len(shop.utterances)
    assert min(right[intent] for intent in shop.intents) >= 0.75 * 44
    assert not [u.text for u in shop.utterances if u.intent in shop.missing and absent[u.text] == u.intent]


def retrieved(shop: Scenario, document: dict) -> dict[str, str | None]:
    """Return the document that answers each text; None below the minimum score."""
    indexed = index(document["context"]["documents"], encode)
    minimum = document["context"]["retrieval"]["min_score"]
    texts = [utterance.text for utterance in shop.utterances]
    vectors = encode([text.replace("{order}", "KL-48213") for text in texts])
    best = [rank(vector, indexed)[0] for vector in vectors]
    return {text: doc_id if score >= minimum else None for text, (doc_id, score) in zip(texts, best, strict=True)}


def test_shop__a_person_s_guardrail__helps_its_target_and_breaks_others(shop: Scenario) -> None:
    proposal = named(shop, "escalate-broken")
    wide, narrow = (person.patch[0]["value"]["when"] for person in (proposal, narrowed(shop, proposal.name)))
    shares, target = shop.shares(), proposal.target_intents[0]
    harm = {intent: share_fired(shop, wide, intent) for intent in shop.intents if intent != target}

    assert target in shop.missing
    assert shop.answers[target].handoff_ok
    assert share_fired(shop, wide, target) >= 0.85
    assert sum(shares[intent] * share for intent, share in harm.items()) >= 0.06
    for pool in ("verify", "holdout"):
        assert share_fired(shop, narrow, target, pool) >= 0.75
    assert not any(share_fired(shop, narrow, intent) for intent in harm)


def test_shop__shortened_answers__break_what_is_too_rare_for_a_ramp_to_show(shop: Scenario) -> None:
    start, shares = shop.starting_document(), shop.shares()
    documents, short, sound = (
        document["context"]["documents"]
        for document in (
            start,
            apply(start, list(named(shop, "shorter-answers").patch)),
            apply(start, list(narrowed(shop, "shorter-answers").patch)),
        )
    )
    changed = {intent for intent in documents if short[intent]["text"] != documents[intent]["text"]}

    assert len(changed) == 3
    assert not named(shop, "shorter-answers").target_intents
    assert sum(shares[intent] for intent in changed) <= 0.02
    for intent in changed:
        facts = shop.answers[intent].facts
        assert not any(fact in short[intent]["text"] for fact in facts)
        assert all(fact in sound[intent]["text"] for fact in facts)
        assert len(sound[intent]["text"]) < len(documents[intent]["text"])


def named(shop: Scenario, name: str):
    return next(person for person in shop.people if person.name == name)


def narrowed(shop: Scenario, name: str):
    return named(without_defect(shop, name), name)


def share_fired(shop: Scenario, phrase: str, intent: str, pool: str | None = None) -> float:
    texts = [u.text for u in shop.utterances if u.intent == intent and pool in (None, u.pool)]
    return sum(fires(phrase, text) for text in texts) / len(texts)


def test_shop__people_s_patches__are_within_the_limits_of_a_proposal(shop: Scenario) -> None:
    for proposal in (*shop.people, narrowed(shop, "escalate-broken"), narrowed(shop, "shorter-answers")):
        start = shop.starting_document()
        found = refusals(start, list(proposal.patch), claim=proposal.claim, author_kind="person", limits=PatchLimits())

        assert not found
        assert apply(start, list(proposal.patch)) != start


def test_without_defect__of_a_change_the_backend_refuses__lets_the_backend_accept_it(shop: Scenario) -> None:
    sound = without_defect(shop, "plain-numbers")

    assert shop.backend.accepts == ("dashed",)
    assert sound.backend.accepts == ("dashed", "plain")
    assert sound.people[0] == shop.people[0]


def test_without_defect__of_an_unknown_proposal__is_refused(shop: Scenario) -> None:
    with pytest.raises(ScenarioError, match="no proposal 'nothing'"):
        without_defect(shop, "nothing")


# -- a bare folder


def test_load__bare_folder__plays_with_defaults(bare: Path) -> None:
    scenario = load(bare)

    assert scenario.intents == ("hours", "place")
    assert scenario.answers["hours"] == Answer("hours", "Hours", "We open at nine. Always.", ("We open at nine.",))
    assert scenario.answers["place"].facts == ("By the river, pier 4",)
    assert scenario.customers == Customers()
    assert len(scenario.missing) == 1
    assert len(scenario.starting_document()["context"]["documents"]) == 1
    assert set(scenario.ceiling_document()["context"]["documents"]) == {"hours", "place"}
    assert scenario.shares() == {"hours": 0.5, "place": 0.5}
    validate_document(scenario.ceiling_document())


def test_load__large_bare_set__spreads_it_over_the_pools_by_text_alone(bare: Path) -> None:
    rows = [f"how about question number {number},hours" for number in range(2000)]
    (bare / "utterances.csv").write_text("text,intent\nwhere,place\n" + "\n".join(rows), encoding="utf-8")
    first = load(bare)
    (bare / "utterances.csv").write_text("text,intent\nwhere,place\n" + "\n".join(rows[::-2]), encoding="utf-8")
    again = {u.text: u.pool for u in load(bare).utterances}

    shares = [len(first.pool(pool)) / 2001 for pool in POOLS]
    assert shares == pytest.approx([0.3, 0.1, 0.25, 0.15, 0.2], abs=0.04)
    assert all(u.pool == again.get(u.text, u.pool) for u in first.utterances)
    assert len({u.template for u in first.utterances}) == 2001


def test_load__templates_without_pools__keeps_a_template_in_one_pool(bare: Path) -> None:
    rows = [f"{word} {number},hours,t{number}" for number in range(40) for word in ("when", "until when")]
    (bare / "utterances.csv").write_text("text,intent,template\nwhere,place,p\n" + "\n".join(rows), encoding="utf-8")

    pools = defaultdict(set)
    for utterance in load(bare).utterances:
        pools[utterance.template].add(utterance.pool)

    assert all(len(where) == 1 for where in pools.values())
    assert len(set.union(*pools.values())) == len(POOLS)


def test_load__missing_count__takes_so_many_documents_away(bare: Path) -> None:
    (bare / "scenario.toml").write_text("[missing]\ncount = 0\n", encoding="utf-8")

    assert load(bare).missing == ()


# -- refusals


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("utterances.csv", "words,intent\n", r"utterances.csv:1: no column 'text'"),
        ("utterances.csv", "text,intent\n", r"utterances.csv:1: no utterances"),
        ("utterances.csv", "text,intent\na,hours\n,place\n", r"utterances.csv:3: text and intent must not be empty"),
        ("utterances.csv", "text,intent\na,b,c\n", r"utterances.csv:2: more cells than columns"),
        ("utterances.csv", "text,intent\na,../b\n", r"utterances.csv:2: intent '../b' cannot name a file"),
        ("utterances.csv", 'text,intent\n"a"b,hours\n', r"utterances.csv:2: not CSV"),
        ("utterances.csv", BARE_CSV + "When do you  open,place\n", r"utterances.csv:5: the text of line 2 again"),
        ("utterances.csv", "text,intent,pool\na,hours,train\n", r"utterances.csv:2: unknown pool 'train'"),
        (
            "utterances.csv",
            "text,intent,pool,template\na,hours,live,t\nb,hours,meter,t\n",
            r"utterances.csv:3: template 't' is hours/live on line 2",
        ),
        ("utterances.csv", BARE_CSV + "and {order},hours\n", r"utterances.csv:5: \{order\} needs orders"),
        ("utterances.csv", BARE_CSV + "hi,greeting\n", r"greeting.md:1: missing; intent 'greeting'"),
        ("answers/other.md", "Hello.", r"other.md:1: no utterance has this intent"),
        ("answers/hours.md", "\n", r"hours.md:1: the answer has no text"),
        ("answers/hours.md", "---\ntitle = 'a'\nWe open.", r"hours.md:1: the front matter is not closed"),
        ("answers/hours.md", "---\ntitle = 'a'\nfacts = [\n---\nText.", r"hours.md:\d: not TOML"),
        ("answers/hours.md", "---\ntitle = 'a'\nfact = 'b'\n---\nText.", r"hours.md:3: unknown key 'fact'"),
        ("answers/hours.md", "---\ntags = 'b'\n---\nText.", r"hours.md:2: tags has the wrong type"),
        ("answers/hours.md", "---\nfacts = ['at ten']\n---\nAt nine.", r"hours.md:2: fact 'at ten' is not in the text"),
        ("answers/hours.md", "At {result.time}.", r"hours.md:1: uses \{result.…\} without a tool"),
        ("answers/hours.md", "---\ntool = 'clock'\n---\nAt nine.", r"hours.md:2: tool 'clock' has no table"),
        ("scenario.toml", "name = 'a'\nname = 'b'\n", r"scenario.toml:2: not TOML"),
        ("scenario.toml", "name = 7\n", r"scenario.toml:1: name must be a non-empty text"),
        ("scenario.toml", "missing = 1\n", r"scenario.toml:1: \[missing\] must be a table"),
        ("scenario.toml", "[missing]\ndocuments = ['x']\n", r"scenario.toml:2: missing document 'x' is not an intent"),
        ("scenario.toml", "[missing]\ncount = 9\n", r"scenario.toml:2: \[missing\] count must be 0 to 2"),
        ("scenario.toml", "[traffic.weights]\nhours = 0\n", r"scenario.toml:2: the weight of 'hours' must be a number"),
        ("scenario.toml", "[traffic.weights]\nx = 1\n", r"scenario.toml:2: weight for 'x'"),
        ("scenario.toml", "[traffic]\nweights = 3\n", r"scenario.toml:2: \[traffic.weights\] must be a table"),
        ("scenario.toml", "[customers]\n\npatience = [3, 1]\n", r"scenario.toml:3: patience must be"),
        ("scenario.toml", "[customers]\ntypo_rate = 2\n", r"scenario.toml:2: typo_rate must be between 0 and 1"),
        ("scenario.toml", "[customers.reactions]\nleave = 0.5\n", r"scenario.toml:1: reactions must be shares"),
        ("scenario.toml", "[backend]\naccepts = ['loose']\n", r"scenario.toml:2: accepts must list styles"),
        ("scenario.toml", "[backend.tables]\nlookup = 'no.json'\n", r"scenario.toml:2: table 'no.json' of 'lookup'"),
        ("harness.json", '{"prompt": {},\n "promt": {}}', r"harness.json:2: unknown layer 'promt'"),
        ("harness.json", '{"prompt": {},\n', r"harness.json:2: not JSON"),
        ("harness.json", "[]", r"harness.json:1: must hold one JSON object"),
        ("ceiling.json", '[{"op": "add"}]', r"ceiling.json:1: operation .* needs op and a path"),
        ("people/a.json", "{}", r"a.json:1: no 'author_role'"),
    ],
)
def test_load__fault_in_a_file__names_file_and_line(bare: Path, file: str, content: str, message: str) -> None:
    (bare / file).parent.mkdir(exist_ok=True)
    (bare / file).write_text(content, encoding="utf-8")

    with pytest.raises(ScenarioError, match=message):
        load(bare)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "weights"}, "unknown layer 'weights'"),
        ({"claim": "improves"}, "unknown claim 'improves'"),
        ({"target_intents": ["x"]}, "target intent 'x' is not in utterances.csv"),
        ({"patch": [{"op": "remove", "path": "/tools/x"}]}, "needs op and a path under '/prompt/'"),
        ({"without_defect": {"patch": []}}, "a patch is a non-empty list"),
    ],
)
def test_load__person_s_proposal_of_a_wrong_shape__is_refused(bare: Path, change: dict, message: str) -> None:
    proposal = {
        "author_role": "support",
        "title": "Greet",
        "layer": "prompt",
        "claim": "fixes",
        "patch": [{"op": "add", "path": "/prompt/rules/greet", "value": {"text": "Greet."}}],
        "rationale": "Manners.",
    }
    (bare / "people").mkdir()
    (bare / "people" / "greet.json").write_text(json.dumps(proposal | change), encoding="utf-8")

    with pytest.raises(ScenarioError, match=message):
        load(bare)


def test_load__no_utterances_file__says_what_a_scenario_is(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no utterances.csv. A scenario is a folder"):
        load(tmp_path)


def test_load__file_in_another_encoding__names_the_line(bare: Path) -> None:
    (bare / "answers" / "place.md").write_bytes("By the river.\nAt the café.".encode("latin-1"))

    with pytest.raises(ScenarioError, match=r"place.md:2: not UTF-8"):
        load(bare)


def test_load__row_without_a_field_the_answer_uses__is_refused(bare: Path) -> None:
    (bare / "scenario.toml").write_text("[backend.tables]\nlookup = 'rows.json'\n", encoding="utf-8")
    (bare / "rows.json").write_text('{"A-1": {"place": "pier"}}', encoding="utf-8")
    (bare / "answers" / "hours.md").write_text("---\ntool = 'lookup'\n---\nAt {result.time}.", encoding="utf-8")

    with pytest.raises(ScenarioError, match=r"hours.md:4: row 'A-1' of lookup has no field 'time'"):
        load(bare)


def test_utterance__with_an_order__is_rendered_with_the_customers_own() -> None:
    utterance = Utterance("where is {order}", "status", "live", "t")

    assert utterance.render("KL-48213") == "where is KL-48213"
    assert Utterance("hello", "status", "live", "t").render(None) == "hello"
    with pytest.raises(ScenarioError, match="its text names an order"):
        utterance.render(None)


def test_fill__row_without_the_field__is_refused() -> None:
    assert fill("it is {result.status}", {"status": "packed"}) == "it is packed"
    with pytest.raises(ScenarioError, match="Cannot fill"):
        fill("it is {result.status}", {})


def test_pool__unknown_name__is_refused(shop: Scenario) -> None:
    with pytest.raises(ScenarioError, match="There is no pool 'train'"):
        shop.pool("train")
