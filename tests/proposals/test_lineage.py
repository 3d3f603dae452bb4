"""Trying the same again is a retry and is counted; saying the same in other words is no new change."""

from dataclasses import replace

import pytest

from accounts.acting import MACHINE
from proposals.drafters import draft_for_pattern
from proposals.drafting import draft, laws_broken
from proposals.exceptions import ProposalRefusedError
from proposals.lineage import family, num_retries
from proposals.models import Proposal
from proposals.twins import essence
from tests.proposals.conftest import ANSWER
from tests.proposals.test_proposal import judged


@pytest.fixture
def say(rule_sketch):
    """A person's rule in other words, on the same evidence."""
    sketch = rule_sketch()

    def make(text):
        value = {"position": 20, "text": text}
        return replace(sketch, patch=[{"op": "add", "path": "/prompt/rules/brief", "value": value}])

    return make


def document(name="shipping", text=ANSWER, **fields):
    value = {"title": "Shipping", "text": text, "tags": ["abroad?"], "source": "corrections of 8 episodes", **fields}
    return [{"op": "add", "path": f"/context/documents/{name}", "value": value}]


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (document(source="corrections of 9 episodes", tags=["abroad?", "to Norway?"]), True),
        (document(name="shipping-2", text=f"  {ANSWER.upper()} "), True),
        ([{"op": "test", "path": "/context/retrieval/top_k", "value": 3}, *document()], True),
        (document(text="We do not ship abroad."), False),
        ([{**document()[0], "path": "/memory/rules/shipping"}], False),
        ([{"op": "replace", "path": "/context/documents/shipping/tags", "value": ["abroad?"]}], False),
    ],
)
def test_essence__patch__is_layer_item_and_content(other, is_same):
    assert (essence(document()) == essence(other)) is is_same


def test_essence__edit_of_circumstances_alone__is_told_apart():
    edits = [[{"op": "replace", "path": "/context/documents/a/tags", "value": [tag]}] for tag in ("one", "two")]

    assert essence(edits[0]) != essence(edits[1])


def test_draft_for_pattern__one_more_correction_after_a_failure__is_not_a_new_change(pattern, episode_of, correct):
    correct([episode_of(n, text=f"Do you ship to Norway? {n}") for n in range(4)], answer=ANSWER, title="Abroad")
    [proposal] = draft_for_pattern(pattern)[0]
    Proposal._base_manager.filter(pk=proposal.pk).update(status="failed")
    correct([episode_of(9, text="And to Sweden?")], answer=ANSWER, title="Abroad")

    written, declined = draft_for_pattern(pattern)

    assert written == []
    assert "failed already" in declined[0]


def test_draft_for_pattern__other_answer_after_a_failure__is_a_retry(pattern, episode_of, correct):
    correct([episode_of(n) for n in range(4)], answer=ANSWER, title="Abroad")
    [first] = draft_for_pattern(pattern)[0]
    Proposal._base_manager.filter(pk=first.pk).update(status="failed")
    correct([episode_of(n) for n in range(10, 30)], answer="Abroad costs 12 euros now.", title="Abroad")

    [second] = draft_for_pattern(pattern)[0]

    assert second.retry_of == first


def test_submit__fourth_retry__is_refused(agent, cast, say, pattern):
    engineer = cast.engineer.as_actor()
    for number in range(4):
        proposal = draft(agent, say(f"Try {number}."), by=engineer, pattern=pattern)
        Proposal._base_manager.filter(pk=proposal.pk).update(status="failed", submitted_at=proposal.created_at)
        proposal.refresh_from_db()
        assert num_retries(proposal) == number
        assert "too_many_retries" not in {law.code for law in laws_broken(proposal)}
    last = draft(agent, say("Try 4."), by=engineer, pattern=pattern)

    with pytest.raises(ProposalRefusedError, match="retry 4"):
        last.submit(by=engineer, reason="once more")


def test_family__retries_of_retries__are_counted_without_a_pattern(agent, cast, say):
    engineer = cast.engineer.as_actor()
    chain = [draft(agent, say("Be brief."), by=engineer)]
    for number in range(2):
        chain.append(draft(agent, say(f"Try {number}."), by=engineer, retry_of=chain[-1]))
    stranger = draft(agent, say("Alone."), by=engineer)

    assert family(chain[1]) == {row.pk for row in chain}
    assert family(stranger) == {stranger.pk}


def test_draft__after_a_withdrawn_verdict__is_a_retry(agent, cast, say, pattern):
    engineer = cast.engineer.as_actor()
    first = draft(agent, say("Be brief."), by=engineer, pattern=pattern)
    judged(first, cast).withdraw(by=engineer, reason="again")

    second = draft(agent, say("Answer in one sentence."), by=engineer, pattern=pattern)

    assert second.retry_of == first


def body_of(agent, episode, **fields):
    return {
        "agent": agent.slug, "title": "Be brief", "claim": "fixes", "rationale": "Answers are long.",
        "patch": [{"op": "add", "path": "/prompt/rules/brief", "value": {"position": 20, "text": "Be brief."}}],
        "evidence": [{"episode": str(episode.pk)}], **fields,
    }  # fmt: skip


def test_create__pattern_named__becomes_a_retry_of_its_last_failure(agent, cast, api, rule_sketch, pattern, episode_of):
    first = draft(agent, rule_sketch(), by=MACHINE, pattern=pattern)
    Proposal._base_manager.filter(pk=first.pk).update(status="failed")

    answer = api(cast.engineer).post(
        "/api/v1/proposals", body_of(agent, episode_of(1), pattern=str(pattern.pk)), format="json"
    )

    assert (answer.status_code, answer.json()["retry_of"]) == (201, str(first.pk)), answer.content
    assert answer.json()["pattern"] == str(pattern.pk)


@pytest.mark.parametrize("name", ["retry_of", "pattern"])
def test_create__naming_what_is_not_visible__is_not_found(other_agent, agent, cast, api, proposal, episode_of, name):
    stranger = api(cast.outsider)
    given = body_of(other_agent, episode_of(1, of=other_agent), **{name: str(proposal.pk)})

    answer = stranger.post("/api/v1/proposals", given, format="json")

    assert answer.status_code == 404
    assert not Proposal.objects.filter(agent=other_agent).exists()
