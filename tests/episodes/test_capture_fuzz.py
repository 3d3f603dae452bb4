"""Whatever is reported: no crash, the good kept once and whole, the bad named with their reason."""

import gzip
import itertools
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.acting import MACHINE
from episodes.content import names_content
from episodes.jobs import review_conversations
from episodes.judging import report_outcome
from episodes.models import Episode
from episodes.settling import settle_agent
from episodes.understanding import understand_waiting
from harness.canonical import clean_json, is_same
from harness.models import Agent
from tests.episodes.reported import BAD, GOOD, kept

pytestmark = pytest.mark.django_db

URL = "/api/v1/episodes"
UNHURRIED = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Examples share one database, so every one has ids of its own.
FRESH = itertools.count(1)
SMALL = [bad for bad in BAD if len(bad.of({"id": "bad"})) < 50_000]


@dataclass(frozen=True)
class Sent:
    """One item of a batch as JSON text, and what is to become of it: `accepted`, `duplicate` or `rejected`."""

    text: str
    fate: str
    item: Any = None
    id: str = ""


def _own(item: dict[str, Any], number: int, place: int) -> dict[str, Any]:
    """Return the item under ids of this example."""
    own = item | {"id": f"{number}.{place}-{item['id']}"[:200]}
    return own | ({"conversation": f"{number}-{item['conversation']}"} if item.get("conversation") else {})


@st.composite
def batches(draw: st.DrawFn) -> list[Sent]:
    """Good and bad items in any order; some good ones again, the same or with other content."""
    number = next(FRESH)
    made: list[Sent] = []
    kinds = draw(
        st.lists(st.sampled_from(["good", "good", "bad", "again", "changed", "bad twin"]), min_size=1, max_size=6)
    )
    for place, kind in enumerate(kinds):
        known = [sent.item for sent in made if sent.fate == "accepted"]
        if kind == "good" or (not known and kind != "bad"):
            item = _own(draw(GOOD), number, place)
            made.append(Sent(json.dumps(item), "accepted", item, item["id"]))
        elif kind == "again":
            item = draw(st.sampled_from(known))
            text = json.dumps(dict(reversed(item.items())), ensure_ascii=False, indent=draw(st.sampled_from([None, 0])))
            made.append(Sent(text.replace("\n", " "), "duplicate", item, item["id"]))
        elif kind == "changed":
            item = draw(st.sampled_from(known)) | {"workflow": f"another {place}"}
            made.append(Sent(json.dumps(item), "rejected", item, item["id"]))
        else:
            item = draw(st.sampled_from(known)) if kind == "bad twin" else _own({"id": "bad"}, number, place)
            made.append(Sent(draw(st.sampled_from(SMALL)).of(item), "rejected"))
    return made


def post(key: str, body: bytes, kind: str = "application/json", *, is_packed: bool = False) -> Any:
    headers = {"authorization": f"Bearer {key}"} | ({"content-encoding": "gzip"} if is_packed else {})
    packed = gzip.compress(body, compresslevel=1) if is_packed else body
    return Client(raise_request_exception=False).post(URL, packed, content_type=kind, headers=headers)


def written(batch: list[Sent], kind: str) -> bytes:
    texts = [sent.text for sent in batch]
    return (f"[{', '.join(texts)}]" if kind == "application/json" else "\n".join(texts)).encode()


def told(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 202, (answer.status_code, answer.content[:500])
    return dict(answer.json())


def assert_named(receipt: dict[str, Any], batch: list[Sent], fates: dict[str, str]) -> None:
    """Every item has one result; the bad ones are named by place, by id where there is one, and with a reason."""
    fate = [fates.get(sent.fate, sent.fate) for sent in batch]
    assert receipt["accepted"] + receipt["duplicates"] + len(receipt["rejected"]) == len(batch)
    assert (receipt["accepted"], receipt["duplicates"]) == (fate.count("accepted"), fate.count("duplicate")), receipt
    assert [one["index"] for one in receipt["rejected"]] == [n for n, one in enumerate(fate) if one == "rejected"]
    for one in receipt["rejected"]:
        assert one["code"]
        assert one["reason"].endswith(".")
        assert len(one["reason"]) < 2_000
        sent = batch[one["index"]]
        assert one["id"] == sent.id if sent.id else isinstance(one["id"], str)


def assert_kept(item: dict[str, Any]) -> None:
    """The item is stored once, as it was sent."""
    row = Episode.objects.select_related("conversation").get(external_id=item["id"])
    promised = kept(item)
    steps = [vars(step) for step in row.step_readings()]
    stored = {name: getattr(row, name) for name in promised.keys() - {"conversation", "steps", "release", "started_at"}}
    stored |= {"conversation": row.conversation.external_id, "steps": steps}
    stored["release"] = row.release_ref and row.release_ref.hex
    for name, value in stored.items():
        if name == "ended_at":
            assert value == promised[name]
        else:
            assert is_same(clean_json(promised[name]), clean_json(value)), (name, promised[name], value)
    began = promised["started_at"] or promised["ended_at"]
    assert row.started_at == began if began else timezone.now() - row.started_at < timedelta(minutes=5)
    assert names_content(row.body_digest, row.content())
    assert row.conversation.started_at <= row.started_at
    assert row.conversation.last_at >= (row.ended_at or row.started_at)


@settings(UNHURRIED, max_examples=60)
@given(
    batches(),
    st.sampled_from(["application/json", "application/x-ndjson", "application/jsonl"]),
    st.booleans(),
)
def test_post__good_and_bad_mixed__keeps_each_good_one_once_and_names_each_bad_one(
    agent: Agent, agent_key: str, batch: list[Sent], kind: str, is_packed: bool
) -> None:
    before, body = Episode.objects.count(), written(batch, kind)

    assert_named(told(post(agent_key, body, kind, is_packed=is_packed)), batch, {})

    good = [sent.item for sent in batch if sent.fate == "accepted"]
    assert Episode.objects.count() == before + len(good)
    for item in good:
        assert_kept(item)
    assert_named(told(post(agent_key, body, kind)), batch, {"accepted": "duplicate"})
    assert Episode.objects.count() == before + len(good)


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_post__every_way_to_be_bad__is_named_and_its_neighbors_are_kept(
    agent: Agent, agent_key: str, kind: str
) -> None:
    wrong: dict[str, Any] = {}

    for number, bad in enumerate(BAD):
        first, last = (json.dumps({"id": f"{name} {number}", "attributes": {"a": 1.5}}) for name in ("first", "last"))
        texts = zip((first, bad.of({"id": f"bad {number}"}), last), ("accepted", "rejected", "accepted"), strict=True)
        batch = [Sent(*one) for one in texts]
        answer = post(agent_key, written(batch, kind), kind)
        try:
            assert_named(told(answer), batch, {})
        except AssertionError:
            wrong[bad.name] = answer.content[:300]

    assert wrong == {}
    assert Episode.objects.count() == 2 * len(BAD)


@settings(UNHURRIED, max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from(["", "gzip", "x-gzip", "br", "gzip, gzip", "\xe9"]),
       st.sampled_from(["application/json", "application/x-ndjson", "application/jsonl", "application/json; charset=utf-16", "text/plain",
                        "multipart/form-data", "multipart/form-data; boundary=x", "", "a/b/c", "application/json;;=", "application/x-www-form-urlencoded"]))  # fmt: skip
def test_post__any_bytes_under_any_name__are_answered_with_a_reason(
    agent_key: str, body: bytes, encoding: str, kind: str
) -> None:
    packed = gzip.compress(body) if "gzip" in encoding and body[:1] != b"\x00" else body
    headers = {"authorization": f"Bearer {agent_key}", "content-encoding": encoding}

    answer = Client(raise_request_exception=False).generic("POST", URL, packed, content_type=kind, headers=headers)

    assert answer.status_code in {202, 400, 413, 415, 422}, answer.content
    if answer.status_code == 202:
        receipt = answer.json()
        assert receipt["accepted"] == 0
        assert all(one["reason"] for one in receipt["rejected"])
    else:
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]


@settings(UNHURRIED, max_examples=10)
@given(st.lists(GOOD, min_size=1, max_size=5))
def test_first_stage__whatever_was_taken__is_read_shown_and_reviewed(
    agent: Agent, agent_key: str, cast: Any, items: list[dict[str, Any]]
) -> None:
    number = next(FRESH)
    own = [_own(item, number, place) for place, item in enumerate(items)]
    assert told(post(agent_key, json.dumps(own).encode()))["accepted"] == len(own)

    assert understand_waiting(agent.pk) == len(own)
    rows = Episode.objects.select_related("agent").filter(external_id__in=[item["id"] for item in own])
    assert {row.analysis_error for row in rows} == {""}
    assert all(row.understood_at for row in rows)
    for row in rows:
        report_outcome(row, name="failed", source="customer", by=MACHINE)
    settled: list[UUID] = []
    settle_agent(agent, then=settled.extend)
    review_conversations([str(key) for key in settled])

    reader = Client(raise_request_exception=False)
    reader.force_login(cast.engineer)
    talk = rows[0].conversation_id
    shown = ["/api/v1/episodes", "/api/v1/conversations", "/api/v1/critiques", "/admin/episodes/episode/",
             f"/api/v1/conversations/{talk}", f"/admin/episodes/conversation/{talk}/change/",
             *(f"/api/v1/episodes/{row.pk}" for row in rows), *(f"/admin/episodes/episode/{row.pk}/change/" for row in rows)]  # fmt: skip
    assert {(path, answer.status_code) for path in shown if (answer := reader.get(path)).status_code != 200} == set()
