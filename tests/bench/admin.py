"""`make bench-admin`: how long lists, searches and links take with a million episodes (EPISODES=, REPEATS=).

Every request goes through Django's whole stack in this process, signed in as a person of a team; what is timed is the
server's work, from the request's arrival to the last byte of the page.
"""

import logging
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any
from urllib.parse import urlencode

from tests.bench.admin_world import COMMON, GONE, RARE, UNCOMMON, fill, throwaway_database
from tests.bench.reporting import Bar, Bench

KEYS = (
    "first_page_ms", "deep_page_ms", "filter_ms", "rare_word_ms", "common_word_ms", "deep_link_ms", "api_first_ms",
    "api_deep_ms",
)  # fmt: skip
LIMIT_MS = 100.0
EPISODES = int(os.environ.get("EPISODES") or 1_000_000)
REPEATS = max(9, int(os.environ.get("REPEATS") or 15))
WARM_UPS = 3
DEEP = 50_000

EPISODE, CONVERSATION = "/admin/episodes/episode/", "/admin/episodes/conversation/"
OUTCOME, SIGNAL, API = "/admin/episodes/outcome/", "/admin/episodes/signal/", "/api/v1/episodes"


@dataclass(frozen=True)
class Case:
    """One kind of request: the key it counts for (none: it is shown only), and its addresses, a new one each time."""

    key: str
    name: str
    addresses: Callable[[], Iterator[str]]
    person: str = "a support agent"
    status: int = 200
    rows: int | None = None


def same(address: str) -> Callable[[], Iterator[str]]:
    """Return an endless supply of one address."""

    def addresses() -> Iterator[str]:
        while True:
            yield address

    return addresses


def found(ids: Iterator[Any] | list[Any], form: str) -> Callable[[], Iterator[str]]:
    """Return a supply of addresses, each with the next id."""
    return lambda: (form.format(one) for one in ids)


class Stage:
    """The filled database with a person of the large team and one of the small."""

    def __init__(self) -> None:
        import django  # the database must be named before the settings are read

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        django.setup()
        from django.core.management import call_command  # as above

        call_command("migrate", verbosity=0)
        logging.disable(logging.WARNING)  # unknown links are asked for on purpose
        self.clients = dict(self._people())

    def _people(self) -> Iterator[tuple[str, Any]]:
        from django.test import Client  # as above

        from accounts.acting import MACHINE, acting  # as above
        from accounts.models import Membership, Team, User  # as above
        from harness.models import Agent  # as above

        self.agents = []
        teams = {"a support agent": ("shop-desk", "travel-desk", "billing-desk"), "a small team": ("quiet-desk",)}
        for number, (name, slugs) in enumerate(teams.items()):
            with acting(MACHINE, reason="a bench"):
                team = Team.objects.create(slug=f"team-{number}", name=name)
                user = User.objects.create_user(f"person-{number}", password="correct horse", is_staff=True)
                Membership.objects.create(user=user, team=team, role="support")
                self.agents += [
                    Agent.objects.create(team=team, owner=user, slug=slug, name=slug.title()).pk for slug in slugs
                ]
            client = Client()
            client.force_login(user)
            yield name, client

    def time(self, case: Case) -> dict[str, Any]:
        """Ask for the case's addresses; return the row of the table, in milliseconds."""
        client, addresses, taken, cpu_started = self.clients[case.person], case.addresses(), [], process_time()
        for number in range(WARM_UPS + REPEATS):
            address = next(addresses)
            if number == WARM_UPS:
                cpu_started = process_time()
            started = perf_counter()
            response = client.get(address)
            body = response.content
            if number >= WARM_UPS:
                taken.append((perf_counter() - started) * 1000)
            assert response.status_code == case.status, (case.name, address, response.status_code, body[:500])
            if case.rows is not None:
                shown = (
                    len(response.json()["results"])
                    if address.startswith("/api")
                    else body.count(b'name="_selected_action"')
                )
                assert shown == case.rows, (case.name, address, shown)
        cpu_ms = (process_time() - cpu_started) * 1000 / REPEATS
        return {
            "request": case.name, "key": case.key, "median_ms": round(median(taken), 1),
            "p95_ms": round(quantiles(taken, n=20, method="inclusive")[-1], 1), "python_cpu_ms": round(cpu_ms, 1),
            "repeats": len(taken),
        }  # fmt: skip


def ids_at(depth: int, number: int) -> list[Any]:
    """Return `number` ids about `depth` rows below the newest, a page apart, found before anything is timed."""
    from episodes.models import Episode  # the stage sets Django up

    keys = Episode.objects.order_by("-pk").values_list("pk", flat=True)
    return list(keys[depth : depth + 50 * number : 50])


def cases(number: int) -> list[Case]:
    """Return every kind of request that is measured."""
    version = f"{10:04x}" * 16  # one of twenty, in use half-way
    deep, deeper = ids_at(min(DEEP, EPISODES // 3), number), ids_at(EPISODES * 9 // 10, number)
    cursors = [b64encode(urlencode({"p": key}).encode()).decode() for key in deep]
    # Of the large team, from all the time there is.
    tickets = [EPISODES * (step + 1) // (number + 2) + 8 for step in range(number)]
    filters = {
        "one agent": "agent__id__exact={agent}", "failed conversations": "conversation__resolution__exact=failed",
        "open conversations": "conversation__resolution__exact=open",
        "blocked conversations, none": "conversation__resolution__exact=blocked",
        "hold-out split": "conversation__split__exact=holdout", "canary, months ago": "arm=canary",
        "flagged": "flagged=yes", "not analyzed": "analysis=failed", "waiting": "analysis=pending",
    }  # fmt: skip
    found_agent = str(_agent("billing-desk"))
    pages = {"conversations": CONVERSATION, "outcomes": OUTCOME, "signals": SIGNAL}
    return [
        Case("first_page_ms", "episodes", same(EPISODE), rows=50),
        *(Case("first_page_ms", name, same(address)) for name, address in pages.items()),
        Case("first_page_ms", "episodes of a small team", same(EPISODE), "a small team", rows=50),
        Case("deep_page_ms", f"{DEEP:,} rows down, by links", found(deep, EPISODE + "?older={}"), rows=50),
        Case("deep_page_ms", "nine tenths down", found(deeper, EPISODE + "?older={}"), rows=50),
        Case("deep_page_ms", "the page before", found(deep, EPISODE + "?newer={}"), rows=50),
        Case("deep_page_ms", "a jump to a day", same(EPISODE + "?day=" + _day(100)), rows=50),
        *(
            Case("filter_ms", name, same(f"{EPISODE}?{query.format(agent=found_agent)}"))
            for name, query in filters.items()
        ),
        Case(
            "filter_ms",
            "failed, 50,000 rows down",
            found(deep, EPISODE + "?conversation__resolution__exact=failed&older={}"),
        ),
        Case("filter_ms", "failed outcomes", same(OUTCOME + "?name=failed")),
        Case("filter_ms", "loops", same(SIGNAL + "?kind__exact=loop")),
        Case("rare_word_ms", "a word of 12 episodes", same(f"{EPISODE}?q={RARE}"), rows=12),
        Case("rare_word_ms", "two words, one rare", same(f"{EPISODE}?q={RARE}+{COMMON}")),
        Case("rare_word_ms", "a word of none", same(f"{EPISODE}?q=xylophone"), rows=0),
        Case("common_word_ms", "a word of two in five", same(f"{EPISODE}?q={COMMON}"), rows=50),
        Case(
            "common_word_ms", "the same, 50,000 rows down", found(deep, EPISODE + "?q=" + COMMON + "&older={}"), rows=50
        ),
        Case("common_word_ms", "a word of one in 100", same(f"{EPISODE}?q={UNCOMMON}"), rows=50),
        Case(
            "common_word_ms",
            "the same among failed",
            same(f"{EPISODE}?q={UNCOMMON}&conversation__resolution__exact=failed"),
        ),
        Case("common_word_ms", "by a small team", same(f"{EPISODE}?q={COMMON}"), "a small team"),
        Case("", "a word of 100,000, all months ago", same(f"{EPISODE}?q={GONE}"), rows=50),
        Case("rare_word_ms", "an id as search", found(tickets, EPISODE + "?q=episode-{}")),
        Case("rare_word_ms", "a user as search", found(tickets, EPISODE + "?q=user-{}")),
        Case("rare_word_ms", "a version as search", same(f"{EPISODE}?q={version}"), rows=50),
        Case("deep_link_ms", "/e/ a ticket, one match", found(tickets, "/e/T-{}"), status=302),
        Case("deep_link_ms", "/e/ an episode's id", found(tickets, "/e/episode-{}"), status=302),
        Case("deep_link_ms", "/e/ an order, three matches", found([one // 3 for one in tickets], "/e/O-{}")),
        Case("deep_link_ms", "/e/ what every episode carries", same("/e/web")),
        Case("deep_link_ms", "/e/ unknown", same("/e/T-none"), status=404),
        Case("api_first_ms", "REST, first page", same(API + "?limit=50"), rows=50),
        Case("api_first_ms", "REST, one agent", same(API + "?limit=50&agent=billing-desk"), rows=50),
        Case("api_first_ms", "REST, a reference", found(tickets, API + "?ref=T-{}"), rows=1),
        Case("api_first_ms", "REST, a rare word", same(f"{API}?q={RARE}"), rows=12),
        Case("api_deep_ms", f"REST, {DEEP:,} rows down", found(cursors, API + "?limit=50&cursor={}"), rows=50),
        Case("api_deep_ms", "REST, before a day", same(f"{API}?limit=50&before={_day(100)}T00:00:00Z"), rows=50),
    ]


def _agent(slug: str) -> Any:
    from harness.models import Agent  # the stage sets Django up

    return Agent.objects.get(slug=slug).pk


def _day(ago: int) -> str:
    from datetime import UTC, datetime, timedelta  # only here

    return (datetime.now(UTC) - timedelta(days=ago)).date().isoformat()


def _sizes() -> list[dict[str, Any]]:
    from django.db import connection  # the stage sets Django up

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, reltuples::bigint, pg_table_size(oid) >> 20, pg_indexes_size(oid) >> 20 FROM pg_class"
            " WHERE relname LIKE 'episodes_%' AND relkind = 'r' AND reltuples > 0 ORDER BY 3 DESC"
        )
        return [
            {"table": name, "rows": rows, "table_mb": table, "indexes_mb": indexes}
            for name, rows, table, indexes in cursor.fetchall()
        ]


def _counting() -> list[dict[str, Any]]:
    """Return what the background count costs, and that its account closes."""
    from episodes.completeness import count_captured  # the stage sets Django up
    from episodes.models import CaptureTally  # as above

    started = perf_counter()
    count_captured()
    took = (perf_counter() - started) * 1000
    account = {name: sum(getattr(row, name) for row in CaptureTally.objects.all())
               for name in ("captured", "analyzed", "pending", "failed", "missing")}  # fmt: skip
    return [{"count_in_background_ms": round(took, 1), **account}]


def main() -> int:
    """Fill, measure, compare with the bars."""
    bars = [Bar(key, "<=", LIMIT_MS) for key in KEYS]
    bench = Bench("admin", bars=bars, settings={"episodes": EPISODES, "repeats": REPEATS, "cpus": os.cpu_count()})
    with throwaway_database("admin"):
        stage = Stage()
        with bench.phase(f"{EPISODES:,} episodes"):
            for part in fill(EPISODES, stage.agents):
                bench.say(part)
        bench.table("size", _sizes())
        with bench.phase("requests"):
            rows = [stage.time(case) for case in cases(WARM_UPS + REPEATS)]
        bench.table("server time", rows)
        bench.table("counting", _counting())
    for key in KEYS:
        bench.keys[key] = max(row["median_ms"] for row in rows if row["key"] == key)
    bench.keys["worst_p95_ms"] = max(row["p95_ms"] for row in rows if row["key"])
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
