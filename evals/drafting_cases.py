"""Draft the cases of a round: read episodes intent by intent, choose, write the drafts in one piece."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from django.db import transaction
from django.utils.crypto import salted_hmac

from audit.record import record
from episodes.models import Intent
from evals.episode_cases import Source, guarded_intents, place_of, read_sources
from evals.freezing import gate_policy_of
from evals.models import Benchmark, Case, DraftRound
from evals.stratifying import Plan, choose
from evals.verdicts import traffic_of
from harness.canonical import clean_json
from harness.models import Agent

__all__ = ["draft_cases"]

# A gap is filled with what the gate reads: as many hold-out clusters are needed as verify ones.
_JUDGED: Mapping[str, float] = MappingProxyType({"verify": 0.5, "holdout": 0.5})
_POOL_PER_CASE = 4
_MIN_POOL = 40
_MAX_POOL = 400


def draft_cases(row: DraftRound) -> int:
    """Read episodes intent by intent, choose, and write the drafts and the round's end in one piece; return how many.

    A round that is finished stays as it is. One whose worker was lost has written nothing and begins anew.
    """
    if row.finished_at is not None:
        return 0
    benchmark, agent = row.benchmark, row.benchmark.agent
    sources = _read(row, agent)
    with transaction.atomic():
        locked = DraftRound.objects.select_for_update(of=("self",), no_key=True).get(pk=row.pk)
        if locked.finished_at is not None:
            return 0
        existing = benchmark.cases.exclude(status=Case.Status.RETIRED).select_related("intent", "episode__conversation")
        places = [place_of(case) for case in existing]
        by_place = {source.candidate: source for source in sources if not _is_gap(row) or source.judges}
        chosen = choose(by_place, places, _plan(row, agent, len(places)))
        cases = [_write(benchmark, by_place[one]) for one in chosen]
        counts = Counter(f"{case.split} {case.kind}" for case in cases)
        record(
            "benchmark.draft_cases", benchmark, team_id=agent.team_id, facts={"round": str(row.pk), "cases": len(cases)}
        )
        row.finish(_sentence(row, cases, len(sources)), num_drafted=len(cases), drafted=dict(counts))
    return len(cases)


def _read(row: DraftRound, agent: Agent) -> list[Source]:
    shares = _shares(row, agent)
    intents = {intent.slug: intent for intent in Intent.objects.filter(agent=agent).live().filter(slug__in=shares)}
    guarded = guarded_intents(agent)
    sources: list[Source] = []
    row.advance(num_done=0, num_planned=len(shares))
    for done, (slug, share) in enumerate(sorted(shares.items()), start=1):
        expected = row.number if _is_gap(row) else round(share * row.number)
        limit = min(_MAX_POOL, max(_MIN_POOL, _POOL_PER_CASE * expected))
        sources += read_sources(agent, intents.get(slug), limit=limit, share=share, guarded=guarded)
        row.advance(num_done=done, num_planned=len(shares))
    return sources


def _shares(row: DraftRound, agent: Agent) -> dict[str, float]:
    """Return the shares of traffic to draft for: of one intent for a gap, else of all that owe cases."""
    traffic = {one.intent: one.share for one in traffic_of(agent, ()) if one.state != "emerging"}
    if row.intent is not None:
        return {row.intent.slug: traffic.get(row.intent.slug, 0.0)}
    return {"": traffic.get("", 0.0)} if row.is_of_no_intent else traffic


def _plan(row: DraftRound, agent: Agent, num_existing: int) -> Plan:
    policy, shares = gate_policy_of(agent), _shares(row, agent)
    if _is_gap(row):
        return Plan(number=row.number, at_least=0, shares=shares, splits=_JUDGED)
    return Plan(number=max(0, row.number - num_existing), at_least=policy.coverage_min_cases, shares=shares)


def _write(benchmark: Benchmark, source: Source) -> Case:
    place = source.candidate.place
    case = Case(
        benchmark=benchmark, name=_name(place.intent, source.episode.pk), kind=place.kind, split=place.split,
        intent=source.intent, cluster=place.cluster, source="a captured episode", episode=source.episode,
        correction_id=source.correction_id, messages=clean_json(source.messages),
        user_state=clean_json(source.user_state), expectations=clean_json(source.expectations),
    )  # fmt: skip
    case.save(force_insert=True)
    return case


def _name(slug: str, episode: UUID) -> str:
    """Return the case's name. The episode is in it as a keyed hash: lists of names are read by who reads no exam."""
    mark = salted_hmac("evals.case", str(episode), algorithm="sha256").hexdigest()[:8]
    return f"{slug or 'no-intent'}-{mark}"


def _sentence(row: DraftRound, cases: Sequence[Case], num_read: int) -> str:
    if not cases:
        return (
            f"No draft was added: {num_read} conversations were read, and none is new to the benchmark. Capture more, "
            "let conversations settle, or correct some."
        )
    splits = Counter(case.split for case in cases)
    silent = sum(not case.expectations for case in cases)
    words = (
        f"{len(cases)} drafts of {num_read} conversations: {splits['verify']} verify, {splits['holdout']} hold-out, "
        f"{splits['dev']} development."
    )
    if silent:
        words += f" {silent} expect nothing yet: somebody must say what should come of them."
    short = row.number - len(cases)
    return f"{words} {short} more were wanted and not found." if _is_gap(row) and short > 0 else words


def _is_gap(row: DraftRound) -> bool:
    return row.intent_id is not None or row.is_of_no_intent
