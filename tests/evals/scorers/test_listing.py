"""The registry as people read it: docs, form, API."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from django.test import Client
from django.urls import reverse

from evals.benchmarks import create_benchmark
from evals.models import Case
from evals.scorers import SCORERS
from evals.scorers.listing import as_markdown, as_openapi, rows
from evals.scoring import validate_expectations

DOCS = Path(__file__).parents[3] / "docs" / "expectations.md"


def test_docs__table__is_the_registry():
    assert as_markdown() in DOCS.read_text(), "Put what `python -m evals.scorers` prints into docs/expectations.md."


def test_command__of_the_package__prints_the_table():
    printed = subprocess.run([sys.executable, "-m", "evals.scorers"], capture_output=True, check=True, text=True)

    assert printed.stdout == as_markdown()


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row.name)
def test_rows__example__is_a_whole_set_of_expectations(row):
    validate_expectations(json.loads(row.example))


def test_openapi__schema__takes_what_the_door_takes():
    schema = as_openapi()

    assert set(schema["properties"]) == {*SCORERS, "accepts_handoff"}
    for row in rows():
        jsonschema.validate(json.loads(row.example), schema)


def test_case_form__adding_and_mending__lists_every_expectation(agent, cast):
    benchmark = create_benchmark(agent, name="exam", description="", by=cast.engineer.as_actor())
    client = Client()
    client.force_login(cast.engineer)
    written = {
        "benchmark": str(benchmark.pk), "name": "one", "kind": "edge", "split": "dev", "weight": "1",
        "messages": '[{"role": "user", "content": "hi"}]', "user_state": "{}",
    }  # fmt: skip

    form = client.get(reverse("admin:evals_case_add")).content.decode()
    refused = client.post(
        reverse("admin:evals_case_add"), {**written, "expectations": '{"regex": ["("]}'}
    ).content.decode()
    client.post(reverse("admin:evals_case_add"), {**written, "expectations": '{"regex": ["a+"]}'})
    case = Case.objects.get()
    page = client.get(reverse("admin:evals_case_change", args=(case.pk,))).content.decode()

    for scorer in SCORERS.values():
        assert f"<code>{scorer.name}</code>" in form
        assert f"<code>{scorer.name}</code>" in page
    assert "no pattern that RE2 reads" in refused
    assert case.expectations == {"regex": ["a+"]}


@pytest.mark.parametrize(
    ("expectations", "said"),
    [({"state": {"check": "os.system", "expected": 1}}, "there is no check"), ({"handoff": "x"}, "handoff")],
)
def test_api__wrong_expectation__is_refused_in_words(agent, cast, api, expectations, said):
    benchmark = create_benchmark(agent, name="exam", description="", by=cast.engineer.as_actor())
    case = {"name": "c", "kind": "edge", "split": "dev", "messages": [{"role": "user"}], "expectations": expectations}

    answer = api(cast.engineer).post(f"/api/v1/benchmarks/{benchmark.pk}/cases", [case], format="json")

    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_expectation")
    assert said in answer.json()["detail"]
    assert not Case.objects.exists()
