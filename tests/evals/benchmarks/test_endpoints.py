"""The same acts over REST: starting, coverage, gaps, labels."""

from jobs.models import Task


def test_start__by_a_person__is_accepted_and_told_on(api, lived, benchmark, cast):
    answer = api(cast.engineer).post("/api/v1/benchmarks/start", {"agent": lived.slug, "number": 150}, format="json")

    told = api(cast.engineer).get(f"/api/v1/benchmarks/{benchmark.pk}/coverage").json()["drafting"]
    assert (answer.status_code, answer.json()["number"]) == (202, 150)
    assert (told["id"], told["percent"], told["finished_at"]) == (answer.json()["id"], 0, None)
    assert Task.objects.filter(name="evals.drafting_jobs.draft_round", key=told["id"]).exists()


def test_start__refusals__have_their_codes(api, lived, other_agent_of, cast):
    young = other_agent_of(cast)

    few = api(cast.engineer).post("/api/v1/benchmarks/start", {"agent": young.slug}, format="json")
    role = api(cast.support).post("/api/v1/benchmarks/start", {"agent": lived.slug}, format="json")
    team = api(cast.outsider).post("/api/v1/benchmarks/start", {"agent": lived.slug}, format="json")

    assert (few.status_code, few.json()["code"]) == (409, "too_few_episodes")
    assert "200 more are needed" in few.json()["detail"]
    assert (role.status_code, team.status_code) == (403, 404)


def test_coverage__of_a_benchmark__is_told_in_numbers_and_words(api, benchmark, cast):
    told = api(cast.support).get(f"/api/v1/benchmarks/{benchmark.pk}/coverage").json()

    intents = {one["intent"]: one for one in told["intents"]}
    assert [one["intent"] for one in told["intents"]] == ["refund", "returns", ""]
    assert intents["refund"]["share"] > intents["returns"]["share"]
    assert (intents["refund"]["is_covered"], intents["refund"]["verify_clusters"]) == (False, 0)
    assert sum(intents["refund"]["drafts"].values()) > 50
    assert told["countdown"]["sentence"].endswith("until a gate can decide.")
    assert (told["countdown"]["verify_missing"], told["countdown"]["looks_left"]) == (24, 20)


def test_coverage__after_drafts_are_accepted__counts_them(api, benchmark, cast):
    for case in benchmark.cases.filter(intent__slug="refund", split="verify").exclude(expectations={}):
        case.activate(by=cast.approver.as_actor())

    told = api(cast.support).get(f"/api/v1/benchmarks/{benchmark.pk}/coverage").json()

    refund = next(one for one in told["intents"] if one["intent"] == "refund")
    assert refund["is_covered"]
    assert refund["verify_clusters"] >= 24
    assert told["countdown"]["verify_missing"] == 0
    assert told["countdown"]["covered"] > 0.5


def test_fill_gap__of_an_intent__is_accepted(api, benchmark, cast):
    address = f"/api/v1/benchmarks/{benchmark.pk}/fill_gap"

    asked = api(cast.engineer).post(address, {"intent": "returns"}, format="json")

    assert (asked.status_code, asked.json()["intent"]) == (202, "returns")
    assert api(cast.engineer).post(address, {"intent": "nowhere"}, format="json").status_code == 404
    assert api(cast.support).post(address, {"intent": "returns"}, format="json").status_code == 403


def test_label__of_a_draft_or_its_whole_correction__names_what_changed(api, benchmark, cast, past):
    case = benchmark.cases.filter(correction=past.correction, split="verify")[0]
    address, said = f"/api/v1/cases/{case.pk}/label", {"contains": ["a week"]}

    refused = api(cast.engineer).post(address, {"expectations": said}, format="json")
    one = api(cast.approver).post(address, {"expectations": said, "kind": "edge"}, format="json")
    all_ = api(cast.approver).post(address, {"expectations": said, "all_of_correction": True}, format="json")
    accepted = api(cast.approver).post(f"/api/v1/cases/{case.pk}/accept_correction", {}, format="json")

    assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")
    assert one.json() == {"cases": [str(case.pk)]}
    number = benchmark.cases.filter(correction=past.correction).count()
    assert len(all_.json()["cases"]) == len(accepted.json()["cases"]) == number


def test_cases__of_the_exam__do_not_tell_their_episode_to_who_drafts(api, benchmark, cast):
    rows = api(cast.engineer).get("/api/v1/cases", {"split": "verify"}).json()["results"]
    dev = api(cast.engineer).get("/api/v1/cases", {"split": "dev"}).json()["results"]

    assert {(row["episode"], row["correction"], row["messages"]) for row in rows} == {(None, None, None)}
    assert all(row["episode"] for row in dev)
