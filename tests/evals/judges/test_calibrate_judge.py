"""`manage.py calibrate_judge`: recorded judges of tau2-bench, and files of any other form."""

import json
import random
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from statsmodels.stats.inter_rater import cohens_kappa

RECORDED = Path(__file__).parents[4] / "shared/data/tau2_judges/verdicts.jsonl"
recorded = pytest.mark.skipif(not RECORDED.exists(), reason=f"the recorded verdicts are not at {RECORDED}")


def run(*arguments, **options):
    out = StringIO()
    call_command("calibrate_judge", *map(str, arguments), stdout=out, **options)
    return out.getvalue()


def written(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def line(number, label, verdict, **more):
    return {
        "domain": "shop", "judge_model": "m", "judge_prompt_name": "p", "simulation_id": str(number),
        "task_id": str(number), "success": label, "verdict_norm": verdict, **more,
    }  # fmt: skip


def judged(number, accuracy, seed=1):
    draw = random.Random(seed)
    for index in range(number):
        label = index % 2 == 0
        yield line(index, label, "pass" if label == (draw.random() < accuracy) else "fail")


@recorded
def test_recorded_judges__every_domain_and_prompt__have_the_kappa_an_oracle_finds_and_none_may_decide():
    rows = [json.loads(text) for text in RECORDED.read_text().splitlines()]
    tables = {}
    for row in rows:
        for on in (row["domain"], "all"):
            table = tables.setdefault((f"{row['judge_model']} / {row['judge_prompt_name']}", on), np.zeros((2, 2)))
            table[int(row["success"]), int(row["verdict_norm"] == "pass")] += 1

    answer = json.loads(run(RECORDED, as_json=True))

    found = {(one["judge"], one["on"]): one for one in answer["judges"]}
    assert found.keys() == tables.keys()
    assert {on for _, on in found} == {"airline", "retail", "telecom", "all"}
    for place, one in found.items():
        table = tables[place]
        assert one["labels"] == table.sum()
        assert one["kappa"] == pytest.approx(cohens_kappa(table, return_results=False), abs=1e-12), place
        assert one["sensitivity"] == pytest.approx(table[1, 1] / table[1].sum())
        assert one["specificity"] == pytest.approx(table[0, 0] / table[0].sum())
        assert one["kappa_lower"] <= one["kappa"] <= one["kappa_upper"]
        misses = one["kappa"] < 0.70 or one["kappa_lower"] < 0.55 or one["labels"] < 100
        assert one["may_decide"] is not misses
        assert one["decision"].startswith("advisory: needs")
    assert not any(one["may_decide"] for one in answer["judges"])


@recorded
def test_recorded_judges__as_a_table__name_each_domain_with_its_kappa_and_what_is_missing():
    told = run(RECORDED)

    for words in ("airline", "retail", "telecom", "-0.29 [", "1.00 [0.47, 1.00]", "80 more human labels"):
        assert words in told
    assert "0 of 16 may decide" in told


def test_good_judge__on_enough_labels__may_decide(tmp_path):
    answer = json.loads(run(written(tmp_path / "v.jsonl", judged(160, 0.95)), as_json=True))

    [one] = answer["judges"]
    assert (one["may_decide"], one["decision"], one["needs"]) == (True, "may decide", [])
    assert one["kappa_lower"] > 0.7


def test_policy__with_other_numbers__decides_by_them(tmp_path):
    path = written(tmp_path / "v.jsonl", judged(160, 0.95))
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"gate": {"judge_labels": 200}}))

    [one] = json.loads(run(path, policy=policy, as_json=True))["judges"]

    assert (one["may_decide"], one["needs"]) == (False, ["40 more human labels"])


def test_arms__named__are_measured_apart(tmp_path):
    rows = [row | {"arm": "baseline"} for row in judged(160, 1.0)]
    rows += [row | {"arm": "candidate", "simulation_id": f"c{row['simulation_id']}"} for row in judged(160, 0.85)]
    path = written(tmp_path / "v.jsonl", rows)

    [one] = json.loads(run(path, arm="arm", as_json=True))["judges"]

    assert one["by_arm"]["baseline"] == {"sensitivity": 1.0, "specificity": 1.0}
    assert one["by_arm"]["candidate"]["sensitivity"] < 0.95
    assert "both arms alike" in one["decision"]


def test_ordinal__grades__are_weighted_by_distance(tmp_path):
    draw = random.Random(3)
    rows = []
    for _ in range(150):
        grade = draw.randrange(5)
        rows.append({"human": grade, "model": min(4, max(0, grade + draw.choice((0, 0, 0, 1, -1)))), "who": "j"})
    path = written(tmp_path / "v.jsonl", rows)

    [one] = json.loads(
        run(path, label="human", verdict="model", judge="who", group="", item="", top=4, pass_mark=3, as_json=True)
    )["judges"]

    table = np.zeros((5, 5))
    for row in rows:
        table[row["human"], row["model"]] += 1
    assert one["kappa"] == pytest.approx(cohens_kappa(table, wt="quadratic", return_results=False))
    assert one["may_decide"] is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense\n", "v.jsonl:1: the line is no JSON"),
        ("[1]\n", "no JSON object"),
        (json.dumps(line(1, True, "perhaps")), "'perhaps' is no grade"),
        (json.dumps({"success": True}), "has no 'domain'"),
        (json.dumps(line(1, None, "pass")), "has no 'success'"),
        ("\n".join([json.dumps(line(1, True, "pass"))] * 2), "two verdicts on '1'"),
        ("[" * 100_000, "no JSON"),
        ("\n", "hold no verdict"),
    ],
)
def test_files__that_do_not_say__are_refused_by_line(tmp_path, text, words):
    path = tmp_path / "v.jsonl"
    path.write_text(text)

    with pytest.raises(CommandError, match=words.replace("[", r"\[")):
        run(path)


def test_arguments__that_cannot_be__are_refused(tmp_path):
    path = written(tmp_path / "v.jsonl", judged(4, 1.0))
    bad = tmp_path / "bad.json"
    bad.write_text('{"judge_cappa": 1}')

    for options, words in (
        ({"top": 4}, "pass_mark"),
        ({"top": 4, "pass_mark": 9}, "pass_mark"),
        ({"policy": bad}, "judge_cappa"),
        ({"policy": tmp_path / "none.json"}, "Cannot read"),
    ):
        with pytest.raises(CommandError, match=words):
            run(path, **options)
    with pytest.raises(CommandError, match="Cannot read"):
        run(tmp_path / "absent.jsonl")


def test_words_of_files__never_steer_the_terminal(tmp_path):
    rows = [row | {"domain": "\x1b[2Jshop[bold]"} for row in judged(8, 1.0)]

    told = run(written(tmp_path / "v.jsonl", rows))

    assert "\x1b" not in told
    assert "shop[bold]" in told
