"""The pages of a run: numbers to everybody, texts to those who may read, a row behind every number."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.acting import MACHINE, acting
from audit.models import Event
from evals.models import Run
from evals.reporting.cases import narrow
from evals.run_reports import report_of
from tests.console.inline_scripts import inline_scripts
from tests.evals.run_page.conftest import ANSWER, QUESTION, SAID

SECRETS = (QUESTION, ANSWER, SAID, "secret", "lookup_price", "I cannot help", "student")


class Links(HTMLParser):
    """The addresses of all links, with the text each shows."""

    def __init__(self):
        super().__init__()
        self.found, self._open = [], None

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self._open = [dict(attrs).get("href") or "", ""]

    def handle_data(self, data):
        if self._open:
            self._open[1] += data

    def handle_endtag(self, tag):
        if tag == "a" and self._open:
            self.found.append(tuple(self._open))
            self._open = None


def links(body):
    reader = Links()
    reader.feed(body)
    return reader.found


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def look(cast):
    """Return the body of a page of a run as a person sees it; an engineer unless said otherwise."""

    def at(kind, *args, by=None, query="", status=200):
        name = "change" if kind == "run" else kind
        answer = signed_in(by or cast.engineer).get(reverse(f"admin:evals_run_{name}", args=args) + query, follow=True)
        assert answer.status_code == status
        return answer.content.decode()

    return at


def text_of(body):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub("</?mark>", "", body)))


def test_run__judged__shows_verdict_gates_slices_flips_and_distributions(runs, look):
    text = text_of(look("run", runs.run.pk))

    assert "Promotions that may be luck (FDP) 3.0 %" in text
    assert "Broken: 3 cases" in text
    assert "Fixed: 10 cases" in text
    assert "Solved in all of k trials (pass^k)" in text
    assert "target 2 6 0.0 % 100.0 %" in text  # group, k, cases, baseline, candidate
    assert "6 more target clusters (6 of 12)" in text
    assert "The agent crashed in 1 case . Infrastructure lost trials of 1 case ." in text
    assert "Latency" in text
    assert "Cost" in text


def test_run__numbers_of_the_drawing__are_in_its_table_too(runs, look):
    body = look("run", runs.run.pk)
    drawing = next(svg for svg in re.findall(r"<svg.*?</svg>", body, re.DOTALL) if "run-forest" in svg)
    table = text_of(body[body.index("The same numbers by slice") :])

    root = ET.fromstring(drawing)  # noqa: S314  # our own page
    assert root.find("title") is not None
    assert root.find("desc") is not None
    titles = [row.findtext("title", "") for row in root.iter("g")]
    assert len(titles) == 7  # target, hold-out, protected, all; three intents, one of them none
    assert any(title.startswith("no intent") for title in titles)
    for line in report_of(runs.run).summaries:
        number = f"{100 * line.mean:+.1f}"
        assert any(f"{line.name}: {number} pp" in title for title in titles)
        assert f"{number} {100 * line.lower:+.1f} to {100 * line.upper:+.1f}" in table


def test_pages__of_a_run__carry_no_inline_script_style_or_text_of_agents_as_markup(runs, look, cast, row_of):
    pages = [
        look("run", runs.run.pk), look("run", runs.live.pk), look("cases", runs.run.pk),
        look("compare", runs.run.pk, query=f"?with={runs.later.pk}"),
        look("case", runs.run.pk, row_of("lost-0").pk, by=cast.approver),
    ]  # fmt: skip

    for body in pages:
        own = body[body.index('id="content"') :]
        assert inline_scripts(body.encode()) == []
        assert "evals/run.js" in body
        assert "<b>ten percent</b>" not in own
        assert "<i>student</i>" not in own


def test_pages__for_who_may_not_read_the_exam__have_names_and_numbers_and_no_text(runs, look, cast, row_of):
    bodies = [
        look("run", runs.run.pk), look("cases", runs.run.pk), look("compare", runs.run.pk, query=f"?with={runs.later.pk}"),
        *(look("case", runs.run.pk, row_of(name).pk) for name in ("lost-0", "crashing-0", "unlucky-0", "fresh-0")),
        *(look("case", runs.run.pk, row_of("lost-0").pk, by=by) for by in (cast.support, cast.release_manager)),
    ]  # fmt: skip

    for body in bodies:
        assert [secret for secret in SECRETS if secret in body] == []
    assert all("lost-0" in body for body in bodies[:2])
    assert all("those who may read the exam" in body for body in bodies[3:])
    assert "score 0.0 %" in text_of(bodies[3])
    assert not Event.objects.filter(action="benchmark.read_exam").exists()


def test_case__for_who_may_read__shows_both_arms_their_differences_and_is_recorded(runs, look, cast, row_of):
    text = text_of(look("case", runs.run.pk, row_of("lost-0").pk, by=cast.approver))

    assert "Is there a &lt;i&gt;student&lt;/i&gt; discount, way 0?" in text
    assert "It is &lt;b&gt;ten percent&lt;/b&gt; with a card." in text
    assert "I cannot help" in text
    assert f"Scored: lacks {ANSWER}" in text
    assert "other order" in text
    assert "secret-code" in text
    assert "items [&quot;a&quot;]" in text  # a field of the user's state that is named like a method
    assert Event.objects.filter(action="benchmark.read_exam", actor_user_id=cast.approver.pk).count() == 1


def test_case__crashed_and_dropped_trials__are_named_and_not_compared(runs, look, cast, row_of):
    crashed = text_of(look("case", runs.run.pk, row_of("crashing-0").pk, by=cast.approver))
    dropped = text_of(look("case", runs.run.pk, row_of("unlucky-0").pk, by=cast.approver))

    assert "The agent crashed: tool loop of the secret card" in crashed
    assert "failed" not in crashed.partition("Trial 1")[2]
    assert "Steps:" not in crashed
    assert "Infrastructure failed; the trial is left out in both arms: no route to the secret host" in dropped
    assert dropped.count("Steps: 2 of 3 differ") == 1  # of the trial that both arms answered


def test_case__of_a_trial_not_played__says_so(runs, look, cast):
    row = runs.live.run_cases.exclude(results__trial=1).first()

    body = text_of(look("case", runs.live.pk, row.pk, by=cast.approver))

    assert "Trial 1" in body
    assert "Trial 2" not in body


def num_rows(run, client, address):
    """Return how many rows are behind an address; a list of results is opened, a page of cases is read."""
    where, _, query = address.partition("?")
    wishes = dict(parse_qsl(query, keep_blank_values=True))
    if where.endswith("/cases/"):
        return len(narrow(report_of(run).cases, wishes))
    return client.get(address).content.decode().count('class="data-row')


def test_run__every_number_with_a_link__has_as_many_rows_behind_it(runs, look, cast):
    client = signed_in(cast.engineer)
    numbered = {
        (address, int(shown.split()[0]))
        for address, shown in links(look("run", runs.run.pk))
        if re.match(r"\d+( cases?)?$", shown.strip()) and re.search(r"/(cases|result)/\?", address)
    }
    lists = {address for address, _ in numbered if "/result/" in address}

    assert len(numbered) >= 30
    # Lists cost half a second each: one of each kind, and the one with the trials that came to nothing.
    opened = {tuple(name for name, _ in parse_qsl(address)): address for address in sorted(lists)}.values()
    assert any("paired=1" in address and "intent_slug" in address for address in opened)
    for address, number in numbered:
        if address not in lists or address in opened:
            in_both_arms = "paired" in address and "arm__exact" not in address
            assert num_rows(runs.run, client, address) == number * (1 + in_both_arms), address


def test_run__every_gate__leads_to_its_rows(runs, look, cast):
    client = signed_in(cast.engineer)
    found = [address for address, shown in links(look("run", runs.run.pk)) if shown == "rows behind it"]

    assert len(found) == 15  # all but the judge's, which judged nothing
    own = {address for address in found if str(runs.run.pk) in address}
    counts = {address: num_rows(runs.run, client, address) for address in own}
    assert [n for address, n in counts.items() if "trouble=violations" in address] == [1]
    assert [n for address, n in counts.items() if "crashed__exact=1" in address] == [2]
    assert [n for address, n in counts.items() if "dropped__exact=1" in address] == [1]
    assert [n for address, n in counts.items() if "split=holdout" in address] == [4]
    assert min(counts.values()) > 0
    assert {client.get(address).status_code for address in set(found) - own} == {200}


@pytest.mark.parametrize(
    ("wishes", "number"),
    [
        ({}, 23), ({"outcome": "broken"}, 3), ({"outcome": "broken", "part": "protected"}, 3), ({"split": "holdout"}, 4),
        ({"intent": ""}, 1), ({"intent": "returns", "pairs": "1"}, 11), ({"trouble": "crashed"}, 1), ({"pairs": "2"}, 21),
        ({"trouble": "dropped"}, 1), ({"part": "nonsense"}, 0), ({"outcome": "nonsense"}, 0), ({"part": "pairs"}, 0),
        ({"trouble": "is_target"}, 0), ({"pairs": "-1"}, 0), ({"pairs": "9" * 5_000}, 0), ({"name": "lost-0"}, 0),
    ],
)  # fmt: skip
def test_cases__narrowed__are_those_that_meet_every_wish(runs, wishes, number):
    assert len(narrow(report_of(runs.run).cases, wishes)) == number


def test_cases__of_a_judged_run__are_listed_with_what_came_of_them(runs, look):
    text = text_of(look("cases", runs.run.pk, query="?intent=returns&outcome=&pairs=1&part=protected"))

    assert "11 of 23 cases" in text
    assert "lost-2 returns edge protected verify lost-2 2/2 1/2" in text


def test_cases__of_a_run_not_judged__lead_back_with_the_reason(runs, look):
    assert "not judged: follow its progress instead" in look("cases", runs.live.pk)


def test_results__by_their_case__are_listed_but_never_found_by_its_text(runs, cast):
    client = signed_in(cast.engineer)
    listing = reverse("admin:evals_result_changelist")

    assert client.get(listing, {"run_case__intent_slug__exact": "returns"}).status_code == 200
    assert client.get(listing, {"run_case__expectations__icontains": "ten"}).status_code in {302, 400}


def test_progress__while_played__is_live_and_counts_each_arm(runs, look):
    body = look("progress", runs.live.pk)

    assert 'data-run-live="yes"' in body
    assert "46 of 92 trials" in text_of(body)
    assert "baseline 23 of 46 0 0 $0.023" in text_of(body)
    assert "candidate 23 of 46 1 0 $0.044" in text_of(body)
    assert "<html" not in body
    page = look("run", runs.live.pk)
    assert f'data-run-progress="{reverse("admin:evals_run_progress", args=(runs.live.pk,))}"' in page
    assert "No verdict yet." in page


def test_progress__at_the_end__stops_the_watching(runs, look):
    assert 'data-run-live="no"' in look("progress", runs.run.pk)
    assert "data-run-progress" not in look("run", runs.run.pk)


def test_compare__with_a_run_of_the_benchmark__shows_both_and_what_changed(runs, look):
    offered = look("run", runs.run.pk)
    body = look("compare", runs.run.pk, query=f"?with={runs.later.pk}")

    assert f'value="{runs.later.pk}"' in offered
    assert f'value="{runs.live.pk}"' not in offered
    assert "0 of 17 played in both" in text_of(body)
    assert "Every case both candidates played came out alike." in body
    assert "Fresh hold-out" in body


@pytest.mark.parametrize("query", ["", "?with=nonsense", "?with=00000000-0000-7000-8000-000000000000"])
def test_compare__with_nothing__is_not_found(runs, look, query):
    look("compare", runs.run.pk, query=query, status=404)


def test_compare__with_a_run_of_the_other_team_or_one_not_judged__is_not_found(runs, look, cast):
    for other in (runs.foreign, runs.live):
        look("compare", runs.run.pk, query=f"?with={other.pk}", status=404)


def test_compare__from_a_run_not_judged__leads_back_with_the_reason(runs, look):
    assert "not judged" in look("compare", runs.live.pk, query=f"?with={runs.run.pk}")


def test_pages__of_the_other_team__are_not_found(runs, look, cast, row_of):
    for kind, args in (("progress", ()), ("cases", ()), ("compare", ()), ("case", (row_of("lost-0").pk,))):
        look(kind, runs.run.pk, *args, by=cast.outsider, status=404, query=f"?with={runs.later.pk}")
    look("case", runs.later.pk, row_of("lost-0").pk, status=404)  # a case of another run


def test_pages__of_a_run__refuse_to_be_written_to(runs, cast):
    client = signed_in(cast.engineer)

    assert client.post(reverse("admin:evals_run_progress", args=(runs.run.pk,))).status_code == 405


def test_run__without_a_proposal_or_known_numbers__is_shown(runs, look):
    with acting(MACHINE, reason="numbers of another time"):
        runs.later.gate_policy = {"protected_margin": 0.2, "forgotten": 1}
        runs.later.save()

    assert "Mean difference of the score by slice" in look("run", runs.later.pk)


def test_run__that_carries_a_confirmed_holdout__links_to_the_look_that_played_it(runs, look):
    row = Run.objects.get(pk=runs.run.pk)
    row.reading["gates"] = [gate | {"verdict": "pass"} for gate in row.reading["gates"]]
    with acting(MACHINE, reason="its hold-out confirmed the gain"):
        row.save()
        again = Run.objects.get(pk=runs.later.pk)
        again.proposal_id = row.proposal_id
        again.save()

    body = look("run", runs.later.pk)

    assert "Its hold-out was played once, in" in body
    assert reverse("admin:evals_run_change", args=(row.pk,)) in body
    assert "same proposal" in body


def test_run__many_rows__costs_a_bounded_number_of_queries(runs, cast):
    client = signed_in(cast.engineer)
    address = reverse("admin:evals_run_change", args=(runs.run.pk,))
    client.get(address)

    with CaptureQueriesContext(connection) as queries:
        client.get(address)

    assert len(queries) <= 40
    reads = [one["sql"] for one in queries if '"evals_result"' in one["sql"]]
    assert not any('"steps"' in sql or '"output"' in sql for sql in reads)
