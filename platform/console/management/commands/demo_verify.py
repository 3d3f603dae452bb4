"""`manage.py demo_verify`: recompute every number of the demonstration's report from stored rows.

Shares no code with the demonstration: it reads the database that the report names and compares.
"""

import json
import math
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.models import Max

from audit.chain import seal_events, verify_chain
from audit.models import Event
from episodes.models import CorrectedEpisode, Correction
from evals.gate.policy import GatePolicy
from evals.models import Benchmark, CurationTrial, Run
from harness.models import Agent, HarnessVersion
from harness.policy import default_policy
from proposals.models import Proposal
from releases.models import Release
from releases.plan import profile

__all__ = ["Command"]

TOLERANCE = 1e-9
_Z95 = NormalDist().inv_cdf(0.95)

type Difference = tuple[str, Any, Any]


class Command(BaseCommand):
    """Compare a report with the rows it speaks of; exit 1 and name what differs."""

    help = "Recompute the demonstration's report from stored rows; needs nothing of the demonstration itself."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "report", nargs="?", type=Path, default=settings.BASE_DIR / ".whetstone" / "demo" / "report.json"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["report"].is_file():
            raise CommandError(f"There is no report at {options['report']}: run the demonstration first.")
        report = json.loads(options["report"].read_text())
        connection.close()
        settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = report["database"]
        reader = _Reader(report)
        differences = [*reader.differences(), *self._broken_chain()]
        for path, reported, stored in differences:
            self.stderr.write(f"{path}: the report says {reported!r}, the rows say {stored!r}")
        if differences:
            raise CommandError(f"{len(differences)} numbers of the report do not agree with the stored rows.")
        self.stdout.write(
            f"The report agrees with the rows of {report['database']}: {reader.num_compared} numbers recomputed."
        )

    def _broken_chain(self) -> Iterator[Difference]:
        while seal_events():
            pass
        for finding in verify_chain():
            yield f"audit sequence {finding.seq}", "whole", finding.problem


class _Reader:
    """Recomputes the report's numbers, one after the other."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self.report = report
        self.agent = Agent.objects.get(slug=report["agent"])
        self.meter = Benchmark.objects.get(agent=self.agent, name="meter")
        self.num_compared = 0
        self._released = {str(pk) for pk in self.agent.releases.values_list("pk", flat=True)}

    def differences(self) -> Iterator[Difference]:
        for path, reported, stored in self._pairs():
            self.num_compared += 1
            if not _same(reported, stored):
                yield path, reported, stored

    def _pairs(self) -> Iterator[Difference]:
        report, passes = self.report, self.report["passes"]
        start, final = self._passed(passes[0]["digest"]), self._passed(passes[-1]["digest"])
        ceiling = _share(self._passed(report["ceiling_digest"]))
        yield "start", report["start"], _share(start)
        yield "final", report["final"], _share(final)
        yield "ceiling", report["ceiling"], ceiling
        gap = ceiling - _share(start)
        yield "closure", report["closure"], (_share(final) - _share(start)) / gap if gap > 0 else 0.0
        yield "final_beats_start_p", report["final_beats_start_p"], _sign_p(start, final)
        yield from self._passes(passes)
        refused = [
            (str(row.pk), row.source, sorted(self._failed_gates(row)))
            for row in Proposal.objects.filter(agent=self.agent, verdict="fail").order_by("pk")
        ]
        yield "refused", [(row["id"], row["source"], row["failed_gates"]) for row in report["refused"]], refused
        back = [
            (str(row.pk), "guard" if self._was_alarmed(row) else "person")
            for row in Release.objects.filter(agent=self.agent, status="rolled_back").order_by("pk")
        ]
        yield "rolled_back", [(row["id"], row["by"]) for row in report["rolled_back"]], back
        harmful, unmeasured = self._harm()
        yield "harmful_releases", report["harmful_releases"], harmful
        yield "unmeasured_releases", report["unmeasured_releases"], unmeasured
        yield "policy_overrides", self._reported_overrides(), self._overrides()
        yield from self._lines(final, start, ceiling, refused, back, harmful + unmeasured)
        used = report["corrections_used"]
        yield "corrections_used.acts", used["acts"], Correction.objects.filter(agent=self.agent).count()
        covered = CorrectedEpisode.objects.filter(correction__agent=self.agent).count()
        yield "corrections_used.episodes", used["episodes"], covered
        yield "subjects", report["subjects"], len(set(self.agent.conversations.values_list("subject", flat=True)))
        stable = HarnessVersion.objects.filter(pk=self.agent.stable_id or "").first()
        yield "passes[-1].digest", passes[-1]["digest"], stable.digest if stable else None

    def _passes(self, passes: list[dict[str, Any]]) -> Iterator[Difference]:
        at = CurationTrial.objects.filter(case__benchmark=self.meter, digest=passes[0]["digest"]).aggregate(
            at=Max("played_at")
        )
        ended = at["at"]
        for row, previous in zip(passes, [passes[0], *passes], strict=False):
            path = f"passes[{row['number']}]"
            before, after = self._passed(previous["digest"]), self._passed(row["digest"])
            yield f"{path}.held_out_resolution", row["held_out_resolution"], _share(after)
            mean, half = _difference(before, after)
            yield f"{path}.change.mean", row["change"]["mean"], mean
            yield f"{path}.change.lower_95", row["change"]["lower_95"], mean - half
            yield f"{path}.change.upper_95", row["change"]["upper_95"], mean + half
            yield f"{path}.releases", len(row["releases"]), sum(one["id"] in self._released for one in row["releases"])
            proposals = {str(p.pk): p for p in Proposal.objects.filter(pk__in=[one["id"] for one in row["proposals"]])}
            for one in row["proposals"]:
                stored = proposals[one["id"]]
                run = Run.objects.filter(proposal=stored, status="judged").order_by("-pk").first()
                yield f"{path}.proposals[{one['title']}].verdict", one["verdict"], run.verdict if run else None
                yield f"{path}.proposals[{one['title']}].status", one["status"], stored.status
                yield f"{path}.proposals[{one['title']}].size", one["size"], stored.size
            counted: dict[str, int] = {}
            for stored in proposals.values():
                counted[stored.verdict] = counted.get(stored.verdict, 0) + 1
            yield f"{path}.verdicts", row["verdicts"], counted
            last = ended
            for one in row["releases"]:
                release = Release.objects.get(pk=one["id"])
                yield f"{path}.releases[v{one['version']}].status", one["status"], release.status
                yield f"{path}.releases[v{one['version']}].effect", one["effect"], release.effect
                users = len(set(release.exposures.values_list("subject", flat=True)))
                yield f"{path}.releases[v{one['version']}].users", one["users"], users
                last = max(last, release.aftermath_closed_at or release.ended_at or last)
            for run in Run.objects.filter(proposal__in=list(proposals), finished_at__isnull=False):
                last = max(last, run.finished_at)
            yield f"{path}.minutes", row["minutes"], round((last - ended).total_seconds() / 60, 2)
            ended = last

    def _passed(self, digest: str) -> dict[str, bool]:
        rows = CurationTrial.objects.filter(case__benchmark=self.meter, digest=digest, trial=0)
        return dict(rows.values_list("case__name", "passed"))

    def _harm(self) -> tuple[int, int]:
        harmful = unmeasured = 0
        for release in Release.objects.filter(agent=self.agent, status="promoted"):
            before, after = self._passed(release.baseline.digest), self._passed(release.version.digest)
            if before and after:
                mean, half = _difference(before, after)
                harmful += mean + half < 0
            else:
                unmeasured += 1
        return harmful, unmeasured

    def _failed_gates(self, proposal: Proposal) -> set[str]:
        run = Run.objects.filter(proposal=proposal, status="judged").order_by("-pk").first()
        return {gate["name"] for gate in run.reading["gates"] if gate["verdict"] == "fail"} if run else set()

    def _was_alarmed(self, release: Release) -> bool:
        moves = Event.objects.filter(action="release.roll_back", object_ref=f"releases.release:{release.pk}")
        last = moves.order_by("-id").first()
        return bool(last and last.actor_kind == "machine" and release.ticks.filter(status="alarm").exists())

    def _reported_overrides(self) -> list[tuple[str, Any]]:
        return sorted((row["path"], row["value"]) for row in self.report["policy_overrides"])

    def _overrides(self) -> list[tuple[str, Any]]:
        """Return every number of the policy in force that is not the shipped default's, its gate and plan resolved."""
        policy = self.agent.policy.document if self.agent.policy else {}
        shipped = default_policy()
        found = [
            (f"/{section}/{name}" if name else f"/{section}", value)
            for section, content in policy.items()
            if section not in ("gate", "plan")
            for name, value, usual in _members(content, shipped[section])
            if value != usual
        ]
        for section, own, usual in (
            ("gate", GatePolicy.from_mapping(policy["gate"]).as_mapping(), GatePolicy().as_mapping()),
            ("plan", profile(policy["plan"]["profile"]).to_mapping(), profile("default").to_mapping()),
        ):
            found += [
                (f"/{section}/{name}", value)
                for name, value in own.items()
                if value != usual[name] and (section, name) != ("gate", "profile")
            ]
        return sorted(found)

    def _lines(
        self, final: Mapping[str, bool], start: Mapping[str, bool], ceiling: float,
        refused: list[tuple[str, str, list[str]]], back: list[tuple[str, str]], harm: int,
    ) -> Iterator[Difference]:  # fmt: skip
        """Judge the promises anew; a report without them (an ablation prints them too) would differ."""
        passes = self.report["passes"]
        results = [self._passed(row["digest"]) for row in passes]
        worst = min(
            mean - half
            for mean, half in (_difference(a, b) for a, b in zip([results[0], *results], results, strict=False))
        )
        holds = [
            worst > -0.03,
            _sign_p(start, final) <= 0.05,
            ceiling - _share(final) <= 0.05,
            harm == 0,
            any(source == "person" and {"slices", "protected"} & set(gates) for _, source, gates in refused),
            any(by == "guard" for _, by in back),
            Release.objects.filter(agent=self.agent).exclude(started_at=None).count() <= 10,
            len(set(self.agent.conversations.values_list("subject", flat=True))) >= 3_000,
            self.report["minutes"] <= 15,
        ]
        for (name, reported), stored in zip(self.report["lines"].items(), holds, strict=True):
            yield f"lines[{name}]", reported, stored


def _members(content: Any, shipped: Any) -> list[tuple[str, Any, Any]]:
    """Return name, value and shipped value of a section's members; a plain value is its own only member."""
    if not isinstance(content, dict) or not isinstance(shipped, dict):
        return [("", content, shipped)]
    return [(name, value, shipped.get(name)) for name, value in content.items()]


def _share(passed: Mapping[str, bool]) -> float:
    return sum(passed.values()) / len(passed)


def _difference(before: Mapping[str, bool], after: Mapping[str, bool]) -> tuple[float, float]:
    """Return the mean paired difference and the half width of its one-sided 95 % bounds."""
    gains = sum(after[name] and not before[name] for name in before)
    losses = sum(before[name] and not after[name] for name in before)
    number = len(before)
    mean = (gains - losses) / number
    variance = ((gains + losses) - number * mean * mean) / (number - 1)
    return mean, _Z95 * math.sqrt(max(0.0, variance) / number)


def _sign_p(before: Mapping[str, bool], after: Mapping[str, bool]) -> float:
    gains = sum(after[name] and not before[name] for name in before)
    losses = sum(before[name] and not after[name] for name in before)
    pairs = gains + losses
    return math.fsum(math.comb(pairs, k) * 0.5**pairs for k in range(gains, pairs + 1))


def _same(reported: Any, stored: Any) -> bool:
    if isinstance(reported, float) or isinstance(stored, float):
        return math.isclose(float(reported), float(stored), rel_tol=1e-9, abs_tol=TOLERANCE)
    return bool(reported == stored)
