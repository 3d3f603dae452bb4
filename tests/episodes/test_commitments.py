"""What was captured stays as it was: the database refuses, and the record tells."""

import pytest
from django.db import DatabaseError, connection, transaction

from audit.chain import seal_events
from audit.models import Event
from episodes.commitments import verify_committed
from episodes.content import names_content
from episodes.jobs import commit_captured
from episodes.models import Episode, EpisodeAmendment
from harness.models import Agent
from tests.episodes.factories import captured, item, later, tool_step
from tests.tampering import triggers_off

pytestmark = pytest.mark.django_db


def told(name: str) -> dict[str, object]:
    return item(
        name, steps=[tool_step(order_id="2", error="no order '2'")], usage={"cost_usd": 1.0, "tokens": 3}, weight=1.0,
        ended_at=later(3), release="0197d7b0-0000-7000-8000-000000000000", sources=["a", 2.5], attributes={"café": "\U0001f600"},
    )  # fmt: skip


def committed(agent: Agent, number: int = 4) -> list[Episode]:
    episodes = captured(agent, *[told(f"e-{n}") for n in range(number)])
    commit_captured()
    seal_events()
    return episodes


def tampered(statement: str, *values: object) -> None:
    """Do what only a superuser can: write with the triggers off."""
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_digest__any_stored_episode__can_be_computed_from_its_row(agent: Agent) -> None:
    captured(agent, told("whole"), {"id": "bare"}, item("no-times"))

    assert all(names_content(row.body_digest, row.content()) for row in Episode.objects.select_related("conversation"))


def test_verify__untouched__finds_nothing(agent: Agent) -> None:
    committed(agent)

    assert list(verify_committed()) == []


@pytest.mark.parametrize(
    "change",
    ['output = \'{"text": "yes"}\'', "started_at = started_at - interval '1 day'", "steps = '[]'", "arm = 'x'"],
)
def test_verify__content_changed_by_a_superuser__names_the_episode_and_the_sequence_number(
    agent: Agent, change: str
) -> None:
    rows = committed(agent)

    tampered(f"UPDATE episodes_episode SET {change} WHERE id = %s", rows[1].pk)

    [finding] = verify_committed()
    assert finding.seq == Event.objects.get(action="episodes.captured").seal.seq
    assert str(rows[1].pk) in finding.problem


def test_verify__episode_removed__names_the_root(agent: Agent) -> None:
    rows = committed(agent)

    tampered("DELETE FROM episodes_episode WHERE id = %s", rows[2].pk)

    [finding] = verify_committed()
    assert "covers 4 episodes, 3 are there" in finding.problem


def test_verify__digest_changed_with_the_content__does_not_give_the_root(agent: Agent) -> None:
    rows = committed(agent)

    tampered("UPDATE episodes_episode SET body_digest = %s WHERE id = %s", "0" * 64, rows[0].pk)

    problems = [finding.problem for finding in verify_committed()]
    assert any("do not give its root" in problem for problem in problems)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE episodes_episode SET output = '{}'", "UPDATE episodes_episode SET body_digest = repeat('0', 64)",
        "UPDATE episodes_episode SET captured_at = now() - interval '1 hour'",
    ],
)  # fmt: skip
def test_episode__changed_by_anybody__is_refused(agent: Agent, statement: str) -> None:
    committed(agent, 1)

    with pytest.raises(DatabaseError, match="only amended"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_episode__marked_as_understood__is_let_through(agent: Agent) -> None:
    committed(agent, 1)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE episodes_episode SET understood_at = now()")

    assert Episode.objects.get().understood_at is not None


def test_episode__amended_with_its_earlier_content_written_down__is_let_through_and_verifies(agent: Agent) -> None:
    [row] = committed(agent, 1)
    row = Episode.objects.select_related("conversation").get()
    EpisodeAmendment.objects.create(
        episode=row, previous_content=_plain(row.content()), previous_digest=row.body_digest,
        previous_committed_at=row.committed_at, reason="a late span",
    )  # fmt: skip

    Episode.objects.update(output={"text": "more"}, body_digest="a" * 64, committed_at=None)

    assert list(verify_committed()) == []
    with pytest.raises(DatabaseError, match="only amended"), transaction.atomic():
        Episode.objects.update(output={"text": "even more"}, body_digest="b" * 64)


def _plain(content: dict[str, object]) -> dict[str, object]:
    return {name: value if isinstance(value, str | list | dict) else str(value) for name, value in content.items()}
