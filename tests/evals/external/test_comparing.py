"""Any two versions on request, and versions by models: what is shown, to whom, and that nothing is decided."""

import copy

import pytest
from django.urls import reverse

from accounts.acting import MACHINE
from audit.exceptions import ReasonMissingError
from evals.comparing import begin_comparison, version_named
from evals.exceptions import BenchmarkMissingError, ComparisonError, OwnChangeError
from evals.freezing import begin_run
from evals.jobs import play_run
from evals.matrices import ask_matrix, read_matrix
from evals.models import Benchmark, Matrix, Run
from evals.plans import past_of
from evals.starting import compare
from harness.models import HarnessVersion
from proposals.models import Proposal
from tests.evals.external.conftest import as_if_curated, version_with


@pytest.fixture
def by(cast):
    return cast.second_engineer.as_actor()


def played(run):
    play_run(str(run.pk))
    run.refresh_from_db()
    return run


def gate(run, name):
    return next(one for one in run.reading["gates"] if one["name"] == name)


def test_comparison__on_the_exam__shows_a_verdict_and_changes_nothing(exam, taught, better, by, submit):
    proposal = submit("Something else about unknown.")

    run = played(compare(taught.stable, better, exam, by=by, reason="is it better?", targets=["unknown"]))

    proposal.refresh_from_db()
    exam.refresh_from_db()
    assert (run.status, run.verdict) == ("judged", "pass"), run.reading["sentence"]
    assert (gate(run, "target")["verdict"], gate(run, "protected")["verdict"]) == ("pass", "pass")
    assert gate(run, "holdout")["numbers"]["advised"] == "hold"
    assert (exam.holdout_looks, run.run_cases.filter(split="holdout").count()) == (0, 0)
    assert proposal.status == "submitted"
    assert run.history.first().history_user_id == by.user_id or run.history.last().history_user_id == by.user_id


def test_comparison__baseline_never_curated__is_curated_before_its_cases_are_frozen(exam, taught, better, by):
    run = compare(better, taught.stable, exam, by=by, reason="how much is lost?")
    assert not run.run_cases.exists()

    played(run)

    assert run.run_cases.filter(is_protected=True).count() == 124
    assert (run.verdict, run.run_cases.filter(is_target=True).count()) == ("fail", 124)


def test_comparison__of_a_version_with_itself__finds_nothing(exam, taught, by):
    run = played(compare(taught.stable, taught.stable, exam, by=by, reason="A/A", trials=1))

    assert gate(run, "target")["numbers"]["p"] == 1.0
    assert run.verdict != "pass"


def test_comparison__a_look_at_the_exam__counts_as_one_and_as_no_attempt(exam, taught, by, submit):
    proposal = submit()
    version = version_with(taught, "unknown")
    Proposal._base_manager.filter(pk=proposal.pk).update(status="withdrawn")
    played(compare(taught.stable, version, exam, by=by, reason="look"))

    again = begin_comparison(taught.stable, version, exam, by=by, reason="once more")
    other = begin_run(submit("More about unknown."))

    assert (past_of(again).look, past_of(again).attempts) == (2, 1)
    assert (past_of(other).look, past_of(other).attempts) == (1, 1)


def test_examinee__has_development_cases_only(exam, taught, better, submit, cast):
    from evals.benchmarks import activate_drafts, add_cases
    from tests.evals.runs.conftest import items

    examiner = cast.approver.as_actor()
    add_cases(exam, items("unknown", 14, "dev"), by=examiner)
    activate_drafts(exam, by=examiner, reason="ready")
    submit("Something else about unknown.")
    author = cast.engineer.as_actor()

    with pytest.raises(OwnChangeError, match="development cases"):
        compare(taught.stable, better, exam, by=author, reason="look")
    run = played(compare(taught.stable, better, exam, by=author, reason="look", split="dev"))

    assert set(run.run_cases.values_list("split", flat=True)) == {"dev"}
    assert gate(run, "target")["verdict"] == "pass"
    assert past_of(run).look == 1
    assert (
        past_of(begin_comparison(taught.stable, better, exam, by=cast.second_engineer.as_actor(), reason="x")).look == 1
    )


def test_candidate_of_an_open_proposal__has_its_validation_and_no_other_look(exam, taught, submit, by):
    proposal = submit()
    candidate = begin_run(proposal).candidate

    for arms in ((taught.stable, candidate), (candidate, taught.stable)):
        with pytest.raises(OwnChangeError, match="its validation is its look"):
            compare(*arms, exam, by=by, reason="look")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"reason": " "}, ReasonMissingError),
        ({"split": "holdout"}, ComparisonError),
        ({"split": "dev"}, BenchmarkMissingError),
        ({"trials": 0}, ComparisonError),
        ({"trials": 11}, ComparisonError),
        ({"targets": ["nothing"]}, ComparisonError),
        ({"runner": "internal"}, ComparisonError),
    ],
)
def test_comparison__that_cannot_be__is_refused(exam, taught, better, by, changes, error):
    with pytest.raises(error):
        begin_comparison(taught.stable, better, exam, **{"by": by, "reason": "look", **changes})
    assert not Run.objects.exists()


def test_version__is_named_by_number_or_digest(taught, better):
    assert version_named(taught, f"v{better.number}") == version_named(taught, better.number) == better
    assert version_named(taught, better.digest[:12].upper()) == better
    for name in ("99", "abc", "", "f" * 64, "%", "9" * 30):
        with pytest.raises(ComparisonError, match="has no version"):
            version_named(taught, name)


def test_endpoint__compares__for_who_may(exam, taught, better, cast, api):
    body = {
        "benchmark": str(exam.pk), "baseline": str(taught.stable.number), "candidate": better.digest[:10],
        "reason": "is it better?", "targets": ["unknown"],
    }  # fmt: skip

    assert api(cast.support).post("/api/v1/comparisons", body, format="json").status_code == 403
    assert api(cast.outsider).post("/api/v1/comparisons", body, format="json").status_code == 404
    answer = api(cast.second_engineer).post("/api/v1/comparisons", body, format="json")

    assert answer.status_code == 201, answer.content
    shown = api(cast.support).get(f"/api/v1/runs/{answer.json()['id']}").json()
    assert (shown["proposal"], shown["runner"], shown["split"]) == (None, "http", "verify")


def test_buttons__on_the_benchmark__compare_and_ask_for_a_matrix(exam, taught, better, cast, client):
    client.force_login(cast.second_engineer)

    def press(verb, **fields):
        where = reverse("admin:evals_benchmark_verb", args=(exam.pk, verb))
        return client.post(where, {"split": "verify", "runner": "http", "reason": "look", **fields}, follow=True)

    compared = press(
        "compare", baseline=taught.stable.number, candidate=better.number, targets="unknown"
    ).content.decode()
    asked = press("ask_matrix", versions=better.number, models="model-a, model-b").content.decode()
    refused = press("compare", baseline="77", candidate=better.number).content.decode()

    assert "Its verdict is shown and changes nothing." in compared
    assert "2 cells are asked for" in asked
    assert "has no version" in refused
    matrix = Matrix.objects.get()
    page = client.get(reverse("admin:evals_matrix_change", args=(matrix.pk,))).content.decode()
    assert "model-b" in page
    assert "Queued" in page


# versions by models


def with_model(agent, name):
    document = copy.deepcopy(agent.stable.document)
    document["model"] = {"name": name}
    version = HarnessVersion.create(agent=agent, document=document, parent=agent.stable, by=MACHINE, note="model")
    agent.set_stable(version, expected=agent.stable, by=MACHINE, reason="model")
    agent.refresh_from_db()
    return version


def test_matrix__learnings_by_models__says_what_carries_over(exam, taught, endpoint, by, api, cast):
    base = with_model(taught, "model-a")
    better = version_with(taught, "unknown")
    worse = version_with(taught, "aaa", tags=["topica", "topicb", "topicc"])
    # On the model b the agent ignores what it was taught last.
    endpoint.deaf = {"model-b": {"unknown"}}

    matrix = ask_matrix(exam, [better], ["model-a", "model-b"], by=by, reason="shall we move?", trials=1)
    harm = ask_matrix(exam, [worse], ["model-a"], by=by, reason="and this?", trials=1)
    for run in [*matrix.runs.all(), *harm.runs.all()]:
        as_if_curated(exam, run.baseline.digest)
        play_run(str(run.pk))

    learnings = [*read_matrix(Matrix.objects.get(pk=matrix.pk)), *read_matrix(Matrix.objects.get(pk=harm.pk))]
    labels = {(one.version, cell.model): cell.transfer.label for one in learnings for cell in one.cells}
    assert labels == {
        (f"v{better.number}", "model-a"): "transfers", (f"v{better.number}", "model-b"): "neutral",
        (f"v{worse.number}", "model-a"): "harmful",
    }, [cell.sentence for one in learnings for cell in one.cells]  # fmt: skip
    assert {run.baseline.document["model"]["name"] for run in matrix.runs.all()} == {"model-a", "model-b"}
    assert {one.base for one in learnings} == {f"v{base.number}"}
    told = api(cast.support).get(f"/api/v1/matrices/{matrix.pk}").json()["learnings"]
    assert told[0]["cells"][0]["numbers"]["p"] <= 0.05
    assert told[0]["cells"][0]["label"] == "transfers"


def test_matrix__a_swap_itself__has_an_empty_cell(exam, taught, by):
    swap = with_model(taught, "model-a")

    matrix = ask_matrix(exam, [swap], ["model-b"], by=by, reason="shall we move?")

    assert not matrix.runs.exists()
    assert "The step is the model itself" in read_matrix(matrix)[0].cells[0].sentence


def test_matrix__that_cannot_be__is_refused(exam, taught, better, by):
    first = HarnessVersion.objects.get(agent=taught, number=1)
    for versions, models, words in (
        ([], ["m"], "at least one"),
        ([better], [], "at least one"),
        ([first], ["m"], "built on nothing"),
        ([better], [f"m{n}" for n in range(31)], "more than 30 cells"),
    ):
        with pytest.raises(ComparisonError, match=words):
            ask_matrix(exam, versions, models, by=by, reason="look")
    assert not Run.objects.exists()
    assert Benchmark.objects.get(pk=exam.pk).holdout_looks == 0
