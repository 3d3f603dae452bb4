"""Finding episodes: by any id from outside, by words, page by page, and nothing of another team."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.ids import first_uuid7_at
from accounts.models import User
from audit import keyset
from audit.facts import FactAdmin
from audit.spans import Span
from episodes import finding
from episodes.finding import by_name, conversations_called, matches
from episodes.models import Episode, Flag
from episodes.words import MAX_CHARACTERS, searchable_text
from harness.models import Agent
from tests.episodes.factories import captured, item, understood
from tests.tampering import rewrite

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_contexts")]

LIST = "/admin/episodes/episode/"


@pytest.fixture
def reader(cast: SimpleNamespace) -> Client:
    client = Client()
    client.force_login(cast.support)
    return client


def names(rows: Any) -> list[str]:
    return [row.external_id for row in rows]


def listed(response: Any) -> list[str]:
    return names(response.context["cl"].result_list)


def found(user: User, text: str, span: Span | None = None) -> list[str]:
    ids = list(matches(user.as_actor(), text, span or Span()))
    by_id = {row.pk: row.external_id for row in Episode.objects.filter(pk__in=ids)}
    return [by_id[key] for key in ids]


def talk(name: str, said: str, **changes: Any) -> dict[str, Any]:
    return item(name, said, **changes)


def test_named__by_any_id_or_reference__is_found(agent: Agent, cast: SimpleNamespace) -> None:
    refs = {"ticket": "T-17", "order": {"ids": ["O-1", "O-2"]}, "number": 4711}
    episode = captured(agent, item("a", external_refs=refs, harness_digest="ab" * 32), item("b"))[0]

    for name in ("a", str(episode.pk), "T-17", "O-2", "4711"):
        assert names(by_name(cast.support.as_actor(), name).episodes) == ["a"], name
    for name in ("conversation of a", "user of a", "ab" * 32, str(episode.conversation_id)):
        assert found(cast.support, name) == ["a"], name
    assert by_name(cast.support.as_actor(), "ticket").episodes == []
    assert names(by_name(cast.outsider.as_actor(), "T-17").episodes) == found(cast.outsider, "T-17") == []


def test_named__a_conversation_only__is_offered(agent: Agent, cast: SimpleNamespace) -> None:
    episode = captured(agent, item("a"))[0]

    shown = by_name(cast.support.as_actor(), "conversation of a")

    assert (list(shown.episodes), shown.conversation) == ([], episode.conversation)
    assert by_name(cast.outsider.as_actor(), "conversation of a").conversation is None


@pytest.mark.parametrize("name", ["", "   ", "\x00", "x" * 5_000, "%", "'; --", "\ud800"])
def test_named__by_nonsense__finds_nothing(agent: Agent, cast: SimpleNamespace, name: str) -> None:
    captured(agent, item("a"))

    assert by_name(cast.support.as_actor(), name).episodes == []
    assert found(cast.support, name) == []


def test_words__of_user_or_answer__find_what_was_analyzed(agent: Agent, cast: SimpleNamespace) -> None:
    understood(agent, item("a", "My zebra is late, really"), item("b", "Where is it?", output={"text": "A Zebra!"}))
    captured(agent, item("c", "Another zebra came along"))

    assert found(cast.support, "ZEBRA") == ["b", "a"]
    assert found(cast.support, "zebra late") == ["a"]
    assert found(cast.support, "zeb") == found(cast.support, "!!!") == []


def test_words__of_another_team__are_never_found(agent: Agent, other_agent: Agent, cast: SimpleNamespace) -> None:
    understood(agent, item("ours", "The walrus has come again"))
    understood(other_agent, item("theirs", f"The walrus agent{agent.pk.hex} has come"))

    assert found(cast.support, "walrus") == ["ours"]
    assert found(cast.outsider, "walrus") == ["theirs"]


@pytest.mark.parametrize("every", [1, 7, 40])
def test_words__dense_or_rare__come_in_order_and_from_where_one_left(
    agent: Agent, cast: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(finding, "_CHUNK", 10)
    monkeypatch.setattr(finding, "_WALKS", (5, 10, 15))
    monkeypatch.setattr(finding, "_DENSE", 20)
    said = [f"The {'otter' if n % every == 0 else 'weasel'} number {n} called" for n in range(80)]
    understood(agent, *(item(f"e{n:02}", text) for n, text in enumerate(said)))
    wanted = [f"e{n:02}" for n in reversed(range(0, 80, every))]
    keys = dict(Episode.objects.values_list("external_id", "pk"))

    assert found(cast.support, "otter") == wanted
    assert found(cast.support, "otter", Span(older=keys[wanted[0]])) == wanted[1:]
    assert found(cast.support, "otter", Span(newer=keys[wanted[-1]])) == wanted[-2::-1]


def test_extract__of_a_long_talk__keeps_the_newest_words_and_no_instructions() -> None:
    heard = {"messages": [
        {"role": "system", "content": "secret rule"}, {"role": "user", "content": "old " * 3_000},
        {"role": "user", "content": [{"type": "text", "text": "the last question"}]},
    ]}  # fmt: skip

    said = searchable_text(heard, {"text": "the answer", "handoff": True, "parts": [1, None]})

    assert "secret" not in said
    assert "user" not in said.split()
    assert said.endswith("the last question the answer")
    assert len(said) <= 2 * MAX_CHARACTERS + 1
    assert searchable_text({}, None) == searchable_text("", []) == ""


def test_link__one_match__leads_to_its_page(agent: Agent, reader: Client) -> None:
    episode = captured(agent, item("run/7", external_refs={"ticket": "T 17"}))[0]

    for name in ("run/7", "T 17", str(episode.pk)):
        response = reader.get(f"/e/{name}")
        assert response.status_code == 302
        assert response["Location"] == reverse("admin:episodes_episode_change", args=(episode.pk,))


def test_link__several_matches__are_a_list_that_opens_each(agent: Agent, reader: Client) -> None:
    rows = captured(agent, *(item(f"e{n}", external_refs={"ticket": "T-1"}) for n in range(3)))

    response = reader.get("/e/T-1")

    body = response.content.decode()
    assert response.status_code == 200
    assert all(reverse("admin:episodes_episode_change", args=(row.pk,)) in body for row in rows)
    assert body.index(">e2<") < body.index(">e0<")


def test_link__a_conversation__leads_to_it(agent: Agent, reader: Client) -> None:
    episode = captured(agent, item("a"))[0]

    response = reader.get("/e/conversation of a")

    assert response["Location"] == reverse("admin:episodes_conversation_change", args=(episode.conversation_id,))


def test_link__no_match__says_what_was_looked_for(reader: Client, agent: Agent) -> None:
    response = reader.get("/e/<b>T-404</b>")

    body = response.content.decode()
    assert response.status_code == 404
    assert "&lt;b&gt;T-404&lt;/b&gt;" in body
    assert "external_refs" in body


def test_link__signed_out_or_of_another_team__shows_nothing(
    agent: Agent, cast: SimpleNamespace, client: Client
) -> None:
    captured(agent, item("a", external_refs={"ticket": "T-1"}))
    outsider = Client()
    outsider.force_login(cast.outsider)

    assert client.get("/e/T-1")["Location"].startswith(reverse("admin:login"))
    assert outsider.get("/e/T-1").status_code == 404


@pytest.fixture
def many(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """120 episodes, every third with a cat in it, on pages of 50."""
    said = [f"My {'cat' if n % 3 == 0 else 'dog'} called number {n}" for n in range(120)]
    return names(reversed(understood(agent, *(item(f"e{n:03}", text) for n, text in enumerate(said)))))


def walk(reader: Client, address: str, way: str) -> list[list[str]]:
    pages, response = [], reader.get(address)
    while True:
        pages.append(listed(response))
        link = response.context["cl"].links.get(way)
        if link is None:
            return pages
        response = reader.get(LIST + link)


@pytest.mark.parametrize("query", ["", "?q=called", "?conversation__split__exact=dev", "?q=cat"])
def test_list__walked_to_its_end_and_back__shows_each_row_once(many: list[str], reader: Client, query: str) -> None:
    down = walk(reader, LIST + query, "older")

    shown = [name for page in down for name in page]
    assert shown == sorted(set(shown), reverse=True)
    assert len(shown) == {"": 120, "?q=called": 120, "?q=cat": 40}.get(query, len(shown))
    assert all(len(page) == 50 for page in down[:-1])
    last = reader.get(LIST + query)
    while "older" in last.context["cl"].links:
        last = reader.get(LIST + last.context["cl"].links["older"])
    up = []
    while True:
        up.append(listed(last))
        if "newer" not in last.context["cl"].links:
            break
        last = reader.get(LIST + last.context["cl"].links["newer"])
    assert up[-1] == down[0]
    assert {name for page in up for name in page} == set(shown)


def test_list__of_any_page__counts_nothing_and_loads_no_body(many: list[str], reader: Client) -> None:
    second = LIST + reader.get(LIST).context["cl"].links["older"]

    with CaptureQueriesContext(connection) as queries:
        response = reader.get(second + "&conversation__resolution__exact=open")

    statements = [query["sql"].split(" FROM ")[0] for query in queries]
    assert response.status_code == 200
    assert not [sql for sql in statements if "COUNT(" in sql or "DISTINCT" in sql]
    assert not [sql for sql in statements for body in ("output", "steps", "sources") if f'"{body}"' in sql]
    assert not [sql for sql in statements if '"embedding"' in sql or '"centroid"' in sql]


def test_list__until_a_day__begins_there(agent: Agent, reader: Client) -> None:
    old = captured(agent, item("old"))[0]
    day = datetime(2025, 5, 4, 23, 59, 59, tzinfo=UTC)
    rewrite(Episode.objects.filter(pk=old.pk), id=UUID(int=first_uuid7_at(day).int + 1))
    captured(agent, item("new"))

    assert listed(reader.get(LIST)) == ["new", "old"]
    assert listed(reader.get(LIST + "?day=2025-05-04")) == ["old"]
    assert listed(reader.get(LIST + "?day=2025-05-03")) == []


@pytest.mark.parametrize("query", ["?older=nonsense", "?day=never", "?newer=7", "?day=9999-12-31"])
def test_list__from_a_place_that_is_none__begins_anew(many: list[str], reader: Client, query: str) -> None:
    response = reader.get(LIST + query, follow=True)

    assert response.status_code == 200
    assert listed(response) == many[:50]


def test_list__a_filter_that_takes_too_long__shows_how_far_it_looked(
    many: list[str], reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "WINDOW", 30)
    monkeypatch.setattr(keyset, "PATIENCE_MS", 1)
    slow = "pg_sleep(0.005)::text = ''"
    monkeypatch.setattr(FactAdmin, "get_queryset", _slowed(FactAdmin.get_queryset, slow))

    response = reader.get(LIST + "?conversation__split__exact=dev")

    cl = response.context["cl"]
    assert set(listed(response)) <= set(many[:30])
    assert cl.page.looked_until is not None
    assert "Look further" in response.content.decode()
    beyond = listed(reader.get(LIST + cl.links["older"]))
    assert set(beyond) <= set(many[30:60])


def _slowed(original: Callable[..., Any], condition: str) -> Callable[..., Any]:
    return lambda self, request: original(self, request).extra(where=[condition])  # noqa: S610  # a constant of this test


def test_filters__of_every_list_of_facts__ask_no_table_for_its_values() -> None:
    asking = []
    for model, page in admin.site._registry.items():
        if not isinstance(page, FactAdmin):
            continue
        for given in page.list_filter:
            path = given if isinstance(given, str) else given[0] if isinstance(given, tuple) else ""
            if path and not isinstance(given, tuple):
                field = admin.utils.get_fields_from_path(model, path)[-1]
                if not field.choices and field.get_internal_type() != "BooleanField":
                    asking.append((model.__name__, path))
    assert asking == []


def test_list__flagged_and_arm_and_analysis__narrow(agent: Agent, reader: Client, cast: SimpleNamespace) -> None:
    rows = understood(agent, item("a", arm="canary"), item("b", arm="control"), item("c"))
    captured(agent, item("d"))
    Flag.objects.create(episode=rows[2], reason="wrong", flagged_by_name="x")

    assert listed(reader.get(LIST + "?arm=canary")) == ["a"]
    assert listed(reader.get(LIST + "?flagged=yes")) == ["c"]
    assert listed(reader.get(LIST + "?analysis=pending")) == ["d"]
    assert listed(reader.get(LIST + "?analysis=failed")) == []
    assert len(listed(reader.get(LIST + "?analysis=analyzed"))) == 3


def test_conversations__by_id_or_user__are_found(agent: Agent, reader: Client, cast: SimpleNamespace) -> None:
    captured(agent, item("a"), item("b", subject="user of a"))

    ids = list(conversations_called(cast.support.as_actor(), "user of a", Span()))
    response = reader.get("/admin/episodes/conversation/?q=user+of+a")

    assert len(ids) == len(response.context["cl"].result_list) == 2
    assert ids == sorted(ids, reverse=True)
    assert list(conversations_called(cast.outsider.as_actor(), "user of a", Span())) == []


def test_list__of_what_users_wrote__shows_it_as_text_and_leads_back_to_where_one_was(
    agent: Agent, reader: Client
) -> None:
    row = understood(agent, item("<i>a</i>", "Where is <b>my</b> order?", arm="canary"))[0]

    body = reader.get(LIST + "?arm=canary").content.decode()

    assert "Where is &lt;b&gt;my&lt;/b&gt; order?" in body
    assert "&lt;i&gt;a&lt;/i&gt;</a>" in body
    assert "<b>my</b>" not in body
    page = reverse("admin:episodes_episode_change", args=(row.pk,))
    assert f'href="{page}?_changelist_filters=arm%3Dcanary"' in body


def test_list__some_are_selected__the_action_takes_just_these(many: list[str], reader: Client) -> None:
    keys = dict(Episode.objects.values_list("external_id", "pk"))
    chosen = [str(keys[name]) for name in many[:2]]

    page = reader.post(LIST, {"action": "flag_selected", "_selected_action": chosen})

    assert "Flag 2 episodes" in page.content.decode()


def test_api__by_reference_words_and_moment__narrows(
    agent: Agent, cast: SimpleNamespace, api: Callable[..., APIClient]
) -> None:
    refs = {"ticket": "T-1"}
    understood(agent, item("a", "The zebra is late", external_refs=refs), item("b", external_refs=refs))
    client = api(cast.support)

    def listed_by(**query: str) -> list[str]:
        return [row["external_id"] for row in client.get("/api/v1/episodes", query).json()["results"]]

    assert listed_by(ref="T-1") == ["b", "a"]
    assert listed_by(ref="T-1", q="zebra") == ["a"]
    assert listed_by(q="user of b") == ["b"]
    assert listed_by(before="2020-01-01") == []
    assert listed_by(before="2999-01-01T00:00:00Z") == ["b", "a"]
    assert client.get("/api/v1/episodes", {"before": "soon"}).status_code == 422
    assert api(cast.outsider).get("/api/v1/episodes", {"ref": "T-1"}).json()["results"] == []


def test_api__page_by_page__shows_each_row_once(
    many: list[str], cast: SimpleNamespace, api: Callable[..., APIClient]
) -> None:
    client, shown, link = api(cast.support), [], "/api/v1/episodes?limit=50"
    while link:
        page = client.get(link).json()
        shown += [row["external_id"] for row in page["results"]]
        link = page["next"]

    assert shown == many
    assert "count" not in page
