"""From stored results to the gate and back: what a run's rows say, read by `evals.gate`."""

import re
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count

from accounts.acting import MACHINE
from episodes.models import Conversation, Correction
from evals.conversing.standing import Standing, standing_of
from evals.exceptions import HoldoutSpentError, UnfrozenError
from evals.freezing import freeze_holdout, holdout_is_fresh
from evals.gate import judge
from evals.gate.policy import GatePolicy
from evals.judges.measuring import reading_for_run
from evals.judges.noting import note_verdicts
from evals.leaks import num_releases
from evals.models import Benchmark, Result, Run, RunCase
from evals.plans import num_promotions, past_of
from evals.readings import CaseReading, RunReadings, SizeChange, TrafficShare, TrialReading, Verdict
from evals.scoring import Reply, requires_escalation
from evals.secrecy import EXAM_SPLITS, readers_among, writers_among
from harness.lines import pretty
from harness.models import Agent
from harness.patches import diff
from proposals.drafting import laws_broken
from proposals.models import Proposal

__all__ = [
    "case_reading",
    "conclude",
    "readings_of",
    "shared_passages",
    "summary_of",
    "traffic_of",
    "trial_reading",
]


def readings_of(run: Run) -> RunReadings:
    """Return everything the gate may know about the run, as values."""
    return _of_comparison(run) if run.proposal is None else _of_proposal(run, run.proposal)


def _of_comparison(run: Run) -> RunReadings:
    """Nobody claimed anything: the question is whether the candidate is better on the cases that were asked about.

    Its cases stand where the exam's stand, development cases too, because nothing is decided by the verdict.
    """
    rows = list(run.run_cases.order_by("pk"))
    if not rows:
        raise UnfrozenError(f"{run} has no cases yet: they are frozen when its playing begins.")
    past, standing = past_of(run), standing_of(run.benchmark)
    policy = GatePolicy.from_mapping(run.gate_policy)
    patch = diff(run.baseline.document, run.candidate.document)
    return RunReadings(
        claim="fixes",
        cases=tuple(case_reading(row, standing, split="verify") for row in rows),
        trials=tuple(trial_reading(result) for result in _results(run)),
        traffic=tuple(traffic_of(run.agent, rows)),
        judge=reading_for_run(run, rows, policy),
        calibrations=standing.statements(row.conversation for row in rows),
        size=SizeChange(len(pretty(run.baseline.document)), len(pretty(run.candidate.document))),
        shared_passages=tuple(shared_passages(patch, _of_exam(rows), words=policy.leakage_words)),
        look=past.look,
    )


def _of_exam(rows: Iterable[RunCase]) -> list[RunCase]:
    return [row for row in rows if row.split in EXAM_SPLITS]


def _of_proposal(run: Run, proposal: Proposal) -> RunReadings:
    past = past_of(run)
    rows, results = list(run.run_cases.order_by("pk")), list(_results(run))
    if past.confirmed is not None and not any(row.split == "holdout" for row in rows):
        rows += past.confirmed.run_cases.filter(split="holdout").order_by("pk")
        results += _results(past.confirmed).filter(run_case__split="holdout")
    policy = GatePolicy.from_mapping(run.gate_policy)
    standing = standing_of(run.benchmark)
    return RunReadings(
        claim=proposal.claim,  # type: ignore[arg-type]  # the field's choices are the literals
        cases=tuple(case_reading(row, standing) for row in rows),
        trials=tuple(trial_reading(result) for result in results),
        traffic=tuple(traffic_of(run.agent, rows)),
        predicted_effect=proposal.predicted_effect.get("gain"),
        judge=reading_for_run(run, rows, policy),
        size=SizeChange(len(pretty(run.baseline.document)), len(pretty(run.candidate.document))),
        static_findings=tuple(_static_findings(run, proposal)),
        shared_passages=tuple(shared_passages(proposal.patch, rows, words=policy.leakage_words)),
        attempts=past.attempts,
        promotions=num_promotions(run),
        calibrations=standing.statements(row.conversation for row in rows),
        leakage_releases=num_releases(run),
        look=past.look,
        passed_before=past.passed_before,
        holdout_looks=_looks_before(run),
        holdout_is_fresh=holdout_is_fresh(run),
    )


def _results(run: Run) -> Any:
    """Return the results with their cases, each of which is loaded once however often it was played."""
    return run.results.order_by("run_case_id", "trial", "arm").prefetch_related("run_case")


def _looks_before(run: Run) -> int:
    """Return the looks at the hold-out before this run's own, which the budget allowed when it was frozen."""
    own = run.run_cases.filter(split="holdout").exists()
    looks = Benchmark.objects.get(pk=run.benchmark_id).holdout_looks
    return max(0, looks - own)


def _static_findings(run: Run, proposal: Proposal) -> Iterator[str]:
    yield from (law.sentence for law in laws_broken(proposal))
    if run.candidate.digest != proposal.candidate_digest:
        yield "The version that was played is not the candidate of the proposal."
    authors = _people_behind(proposal)
    for name in readers_among(authors, run.benchmark):
        yield f"{name} has read verify or hold-out cases of {run.benchmark} and wrote this change: somebody else must."
    for name in writers_among(authors, run.benchmark):
        yield f"{name} wrote cases by which {run.benchmark} judges and wrote this change too: somebody else must."


def _people_behind(proposal: Proposal) -> set[UUID]:
    """Return who wrote the change: its authors, and where a machine did, those whose corrections it was made of."""
    if not proposal.is_machine_written:
        return proposal.author_ids()
    covering = Correction.objects.filter(episodes__in=proposal.evidence.values("episode"), corrected_by__isnull=False)
    return set(covering.values_list("corrected_by", flat=True))


def case_reading(row: RunCase, standing: Standing, *, split: str = "") -> CaseReading:
    """Return a frozen case as the gate sees it; `split` says as which split, where not as its own."""
    return CaseReading(
        case_id=str(row.pk), cluster=row.cluster, intent=row.intent_slug, kind=row.kind,
        split=split or row.split,  # type: ignore[arg-type]  # the field's choices are the literals
        weight=row.weight, is_target=row.is_target, is_protected=row.is_protected,
        high_risk=row.kind == "high_risk", requires_escalation=requires_escalation(row.expectations),
        simulation=standing.of(row.conversation),
    )  # fmt: skip


def trial_reading(result: Result) -> TrialReading:
    """Return a result as the gate sees it."""
    return TrialReading(
        case_id=str(result.run_case_id),
        arm=result.arm,  # type: ignore[arg-type]  # the field's choices are the literals
        trial=result.trial, score=result.score, success=result.passed, latency_ms=result.latency_ms or 0.0,
        cost_usd=result.cost_usd or 0.0, critical_violations=tuple(result.violations),
        crashed=result.crashed, dropped=result.dropped, escalated=Reply(result.output, result.steps).handed_off,
        broke_character=bool(result.broke_character),
    )  # fmt: skip


def traffic_of(agent: Agent, rows: Iterable[RunCase]) -> list[TrafficShare]:
    """Return each intent's share of all conversations; equal shares over the run's intents while there is no traffic.

    Conversations of no intent, or of a retired one, are one share of their own: traffic that nobody named is owed too.
    """
    counts = list(
        Conversation.objects.filter(agent=agent).values("intent__slug", "intent__state").annotate(number=Count("id"))
    )
    total = sum(row["number"] for row in counts)
    if not total:
        intents = sorted({row.intent_slug for row in rows if row.intent_slug})
        return [TrafficShare(intent, 1 / len(intents)) for intent in intents]
    named = [row for row in counts if row["intent__state"] in ("live", "emerging")]
    shares = [TrafficShare(row["intent__slug"], row["number"] / total, row["intent__state"]) for row in named]
    nameless = total - sum(row["number"] for row in named)
    return [*shares, TrafficShare("", nameless / total, "unassigned")] if nameless else shares


def shared_passages(patch: Any, rows: Iterable[RunCase], *, words: int) -> list[str]:
    """Return the verify and hold-out cases that share `words` consecutive words with what the patch writes."""
    written = _runs_of_words(" \n ".join(_texts(patch)), words)
    shared = []
    for row in rows:
        said = " \n ".join(_texts([row.messages, row.conversation]))
        if written & _runs_of_words(said, words):
            shared.append(str(row.pk))
    return shared


def _runs_of_words(text: str, length: int) -> set[tuple[str, ...]]:
    found = re.findall(r"\w+", text.casefold())
    return {tuple(found[place : place + length]) for place in range(len(found) - length + 1)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def summary_of(verdict: Verdict) -> dict[str, Any]:
    """Return what a proposal keeps of its verdict: the sentences, gate by gate."""
    return {
        "sentence": verdict.sentence,
        "gates": {gate.name: {"verdict": gate.verdict, "sentence": gate.sentence} for gate in verdict.gates},
        "reasons": list(verdict.approvals.reasons),
    }


def conclude(run: Run) -> str:
    """Judge a run whose results are complete; return `judged`, or `more` when the hold-out must be played first.

    Judging twice is harmless: the state machines let the verdict in once.
    """
    policy = GatePolicy.from_mapping(run.gate_policy)
    note_verdicts(run)
    verdict = judge(readings_of(run), policy)
    reading = verdict.as_json() | {"sentence": verdict.sentence}
    if verdict.wants_holdout and not run.is_comparison:
        try:
            freeze_holdout(run, policy)
        except HoldoutSpentError as refusal:
            reading |= {"overall": "hold", "sentence": str(refusal)}
        else:
            return "more"
    _store(run, reading, verdict)
    return "judged"


@transaction.atomic
def _store(run: Run, reading: dict[str, Any], verdict: Verdict) -> None:
    """Store the verdict, and tell the proposal unless it was withdrawn meanwhile: the look was spent either way."""
    run.judge(verdict=reading["overall"], reading=reading, by=MACHINE)
    proposal = None if run.proposal_id is None else Proposal.objects.locked().get(pk=run.proposal_id)
    if proposal is not None and proposal.status == Proposal.Status.VALIDATING:
        summary = summary_of(verdict) | {"sentence": reading["sentence"]}
        people = max(1, verdict.approvals.people)
        proposal.record_verdict(reading["overall"], run_ref=run.pk, summary=summary, approvals=people, by=MACHINE)
