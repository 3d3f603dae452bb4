"""What the demonstration came to, in numbers read off stored rows."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import NormalDist
from typing import Any

from django.db import connection

from audit.models import Event
from audit.record import reference
from demo.passes import Demonstration, PassRecord
from episodes.models import CorrectedEpisode, Correction
from evals.gate.policy import GatePolicy
from evals.measuring import measured
from evals.models import Benchmark, CurationTrial, Run
from harness.canonical import digest_of
from harness.models import Agent
from harness.policy import Policy, default_policy, differences
from proposals.models import Proposal
from releases.models import Release
from releases.plan import profile

__all__ = ["build_report", "lines_held", "paired_interval", "sign_test"]

MARGIN = 0.03
CEILING_MARGIN = 0.05
_Z95 = NormalDist().inv_cdf(0.95)


def paired_interval(before: Mapping[str, bool], after: Mapping[str, bool]) -> tuple[float, float, float]:
    """Return mean and the two one-sided 95 % bounds of after minus before, paired by case (normal, n in the hundreds)."""
    values = [int(after[name]) - int(before[name]) for name in sorted(before)]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = _Z95 * math.sqrt(variance / len(values))
    return mean, mean - half, mean + half


def sign_test(before: Mapping[str, bool], after: Mapping[str, bool]) -> float:
    """Return the exact one-sided p that `after` resolves more cases than `before` (McNemar's sign test)."""
    better = sum(after[name] and not before[name] for name in before)
    worse = sum(before[name] and not after[name] for name in before)
    pairs = better + worse
    return float(sum(math.comb(pairs, wins) for wins in range(better, pairs + 1)) / 2**pairs)


def build_report(demo: Demonstration, *, seconds: float, ablate: str) -> dict[str, Any]:
    """Return the report; every number of it can be recomputed from the demo's database."""
    agent = Agent.objects.get(slug=demo.slug)
    meter = Benchmark.objects.get(agent=agent, name="meter")
    by_digest = {record.digest: measured(meter, record.digest) for record in demo.passes}
    ceiling_digest = digest_of(demo.scenario.ceiling_document())
    ceiling = _share(measured(meter, ceiling_digest))
    start, final = by_digest[demo.passes[0].digest], by_digest[demo.passes[-1].digest]
    gap = ceiling - _share(start)
    releases = list(
        Release.objects.filter(agent=agent).select_related("version", "baseline", "proposal").order_by("pk")
    )
    report: dict[str, Any] = {
        "scenario": demo.scenario.name,
        "seed": demo.seed,
        "ablate": ablate,
        "database": connection.settings_dict["NAME"],
        "agent": agent.slug,
        "start": _share(start),
        "final": _share(final),
        "ceiling": ceiling,
        "ceiling_digest": ceiling_digest,
        "closure": (_share(final) - _share(start)) / gap if gap > 0 else 0.0,
        "final_beats_start_p": sign_test(start, final),
        "passes": _passes(demo.passes, by_digest, meter),
        "refused": [_refused(row) for row in Proposal.objects.filter(agent=agent, verdict="fail").order_by("pk")],
        "rolled_back": [_rolled_back(row) for row in releases if row.status == Release.Status.ROLLED_BACK],
        **_harm(releases, meter),
        "corrections_used": {
            "acts": Correction.objects.filter(agent=agent).count(),
            "episodes": CorrectedEpisode.objects.filter(correction__agent=agent).count(),
        },
        "subjects": agent.conversations.values("subject").distinct().count(),
        "policy_overrides": _overrides(agent),
        "minutes": round(seconds / 60, 2),
        "phases_s": {name: round(value, 1) for name, value in demo.phases()},
    }
    report["lines"] = lines_held(report)
    return report


def _share(results: Mapping[str, bool]) -> float:
    return sum(results.values()) / len(results)


def _passes(
    records: Sequence[PassRecord], by_digest: Mapping[str, Mapping[str, bool]], meter: Benchmark
) -> list[dict[str, Any]]:
    rows = []
    ended = _measured_at(meter, records[0].digest)
    for record, previous in zip(records, [records[0], *records], strict=False):
        proposals = list(Proposal.objects.filter(pk__in=record.proposals).order_by("pk"))
        releases = list(Release.objects.filter(pk__in=record.releases).order_by("pk"))
        mean, lower, upper = paired_interval(by_digest[previous.digest], by_digest[record.digest])
        before, ended = ended, _ended(ended, proposals, releases)
        rows.append(
            {
                "number": record.number,
                "digest": record.digest,
                "held_out_resolution": _share(by_digest[record.digest]),
                "change": {"mean": mean, "lower_95": lower, "upper_95": upper},
                "proposals": [_named(row) for row in proposals],
                "verdicts": dict(Counter(row.verdict for row in proposals)),
                "releases": [_released(row) for row in releases],
                "minutes": round((ended - before).total_seconds() / 60, 2),
            }
        )
    return rows


def _measured_at(meter: Benchmark, digest: str) -> datetime:
    trials = CurationTrial.objects.filter(case__benchmark=meter, digest=digest).order_by("-played_at")
    at: datetime = trials[0].played_at
    return at


def _ended(before: datetime, proposals: Sequence[Proposal], releases: Sequence[Release]) -> datetime:
    """Return when a pass ended: at its last verdict, or when its last release was closed."""
    runs = Run.objects.filter(proposal__in=proposals, finished_at__isnull=False)
    instants = [run.finished_at for run in runs] + [row.aftermath_closed_at or row.ended_at for row in releases]
    latest: datetime = max([before, *(instant for instant in instants if instant)])
    return latest


def _named(row: Proposal) -> dict[str, Any]:
    return {
        "id": str(row.pk), "title": row.title, "layer": row.layer, "claim": row.claim, "size": row.size,
        "verdict": row.verdict, "status": row.status, "source": row.source,
    }  # fmt: skip


def _refused(row: Proposal) -> dict[str, Any]:
    gates = row.verdict_summary.get("gates", {})
    return _named(row) | {"failed_gates": sorted(name for name, gate in gates.items() if gate["verdict"] == "fail")}


def _rolled_back(row: Release) -> dict[str, Any]:
    """Return the release with who ended it: the guard, by an alarm that was kept with its numbers, or a person."""
    move = Event.objects.filter(action="release.roll_back", object_ref=reference(row)).order_by("-pk").first()
    is_alarm = row.ticks.filter(status="alarm").exists()
    by_guard = move is not None and move.actor_kind == "machine" and is_alarm
    return _released(row) | {"by": "guard" if by_guard else "person"}


def _released(row: Release) -> dict[str, Any]:
    return {
        "id": str(row.pk), "version": row.version.number, "title": row.proposal.title, "status": row.status,
        "effect": row.effect, "users": row.exposures.values("subject").distinct().count(),
    }  # fmt: skip


def _harm(releases: Sequence[Release], meter: Benchmark) -> dict[str, int]:
    """Count promoted releases whose paired held-out difference lies below zero with its upper bound, and unmeasured ones."""
    harmful = unmeasured = 0
    for row in releases:
        if row.status == Release.Status.PROMOTED:
            before, after = measured(meter, row.baseline.digest), measured(meter, row.version.digest)
            if before and after:
                harmful += paired_interval(before, after)[2] < 0
            else:
                unmeasured += 1
    return {"harmful_releases": harmful, "unmeasured_releases": unmeasured}


def _overrides(agent: Agent) -> list[dict[str, Any]]:
    """Return every number in which the policy in force departs from the default, gate and plan included."""
    policy = agent.policy.document if agent.policy else {}
    rows = [
        {"path": one.path, "default": one.profile_value, "value": one.value}
        for one in differences(policy, default_policy())
        if not one.path.startswith(("/gate", "/plan"))
    ]
    gate = GatePolicy.from_mapping(Policy.model_validate(policy).gate)
    default_gate = GatePolicy().as_mapping()
    rows += [
        {"path": f"/gate/{name}", "default": default_gate[name], "value": value}
        for name, value in gate.overrides().items()
    ]
    plan, default_plan = profile(str(policy["plan"]["profile"])).to_mapping(), profile("default").to_mapping()
    rows += [
        {"path": f"/plan/{name}", "default": default_plan[name], "value": value}
        for name, value in plan.items()
        if value != default_plan[name]
    ]
    return rows


def lines_held(report: Mapping[str, Any]) -> dict[str, bool]:
    """Return which promises of the demonstration hold; an ablation is judged by other promises and is not asked."""
    passes = report["passes"]
    return {
        "no pass loses 3 points": all(row["change"]["lower_95"] > -MARGIN for row in passes),
        "final beats start": report["final_beats_start_p"] <= 0.05,
        "final within 5 points of the ceiling": report["ceiling"] - report["final"] <= CEILING_MARGIN,
        "no harmful release": report["harmful_releases"] == 0 == report["unmeasured_releases"],
        "the gate refused a person's proposal that breaks another intent": any(
            row["source"] == "person" and {"slices", "protected"} & set(row["failed_gates"])
            for row in report["refused"]
        ),
        "the guard rolled a release back": any(row["by"] == "guard" for row in report["rolled_back"]),
        "at most 10 releases": sum(len(row["releases"]) for row in passes) <= 10,
        "at least 3,000 subjects": report["subjects"] >= 3_000,
        "at most 15 minutes": report["minutes"] <= 15,
    }
