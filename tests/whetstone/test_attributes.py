"""A harness's name travels beside traces, and comes back out of them."""

from typing import Any

import pytest

from whetstone import Harness
from whetstone.attributes import NAMES, baggage, read_baggage, span_attributes
from whetstone.harness import Served

DIGEST = "ab" * 32
RELEASE = "01890000-0000-7000-8000-000000000000"


def harness(**facts: Any) -> Harness:
    served = {"digest": DIGEST, "release": RELEASE, "arm": "canary", "weight": 0.25} | facts
    return Harness(Served(**served), "platform", 0.0, None, "user-1", "conversation 1")


def test_names__are_what_readers_of_traces_look_for() -> None:
    assert NAMES == (
        "whetstone.harness.digest", "whetstone.release", "whetstone.arm", "whetstone.weight", "session.id", "user.id",
    )  # fmt: skip


def test_span_attributes__name_the_harness_and_whom_it_was_for() -> None:
    assert harness().span_attributes() == {
        "whetstone.harness.digest": DIGEST,
        "whetstone.release": RELEASE,
        "whetstone.arm": "canary",
        "whetstone.weight": 0.25,
        "session.id": "conversation 1",
        "user.id": "user-1",
    }
    assert span_attributes(harness(release=None, arm=None, weight=None), user="u2", conversation="c2") == {
        "whetstone.harness.digest": DIGEST,
        "session.id": "c2",
        "user.id": "u2",
    }


@pytest.mark.parametrize("conversation", ["plain", "a b,c;d=e%20", "größe 🦊", '"quoted"\\'])
def test_baggage__there_and_back__is_the_same(conversation: str) -> None:
    header = baggage(harness(), conversation=conversation)

    header.encode("ascii")
    assert " " not in header
    assert read_baggage(header) == span_attributes(harness(), conversation=conversation)


def test_baggage__entries_of_others__stay_and_old_ones_of_ours_go() -> None:
    before = "tenant=7;ttl=3, whetstone.arm=control , user.id=old"
    header = harness().baggage(before=before)

    assert header.startswith("tenant=7;ttl=3,whetstone.harness.digest=")
    assert header.count("whetstone.arm") == header.count("user.id") == 1
    assert read_baggage(header)["whetstone.arm"] == "canary"


@pytest.mark.parametrize("header", ["", ",,", "=x", "whetstone.arm", "whetstone.weight=much", "whetstone.arm=;p=1"])
def test_read_baggage__broken__says_nothing(header: str) -> None:
    assert read_baggage(header) == {}


def test_baggage__as_opentelemetry_reads_it() -> None:
    propagation = pytest.importorskip("opentelemetry.baggage.propagation")
    context = propagation.W3CBaggagePropagator().extract({"baggage": harness().baggage()})
    found = pytest.importorskip("opentelemetry.baggage").get_all(context)

    assert found["session.id"] == "conversation 1"
