"""What a benchmark covers of the traffic, intent by intent, and how far it is from a gate that can decide."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from django.db.models import Count

from episodes.models import Intent
from evals.countdown import Countdown, IntentStanding, count_down
from evals.curation import curated, uncurated
from evals.episode_cases import draftable
from evals.freezing import gate_policy_of
from evals.gate.policy import GatePolicy
from evals.models import Benchmark, Case, RunCase
from evals.verdicts import traffic_of

__all__ = ["Coverage", "coverage_of"]

NO_INTENT = "no intent"


@dataclass(frozen=True)
class Coverage:
    """A benchmark's intents, those first whose covering would add most, and the countdown to the first decidable gate."""

    intents: tuple[IntentStanding, ...]
    countdown: Countdown
    policy: GatePolicy

    @property
    def gaps(self) -> tuple[IntentStanding, ...]:
        """Return the intents that owe cases and are not covered."""
        return tuple(one for one in self.intents if one.owes_cases and not one.is_covered(self.policy))


def coverage_of(benchmark: Benchmark) -> Coverage:
    """Return what the benchmark covers now, by the agent's policy; reads counts only, no text of any case."""
    agent = benchmark.agent
    policy = gate_policy_of(agent)
    stable = agent.stable
    protected = curated(stable.digest, benchmark) if stable else frozenset()
    tallies, clusters = _tally(benchmark)
    names = dict(Intent.objects.filter(agent=agent).values_list("slug", "name"))
    available = _available(benchmark)
    traffic = {one.intent: one for one in traffic_of(agent, ())}
    live = set(Intent.objects.filter(agent=agent).live().values_list("slug", flat=True))
    standings = []
    for slug in sorted({*traffic, *live, *(slug for slug in tallies if slug in live or not slug)}):
        share = traffic.get(slug)
        tally = tallies.get(slug, _Tally())
        standings.append(
            IntentStanding(
                slug=slug, name=names.get(slug, slug) if slug else NO_INTENT, share=share.share if share else 0.0,
                state=share.state if share else "live" if slug else "unassigned", verify_cases=tally.num_verify,
                verify_clusters=len(tally.clusters["verify"]), holdout_clusters=len(tally.clusters["holdout"]),
                holdout_fresh=len(tally.clusters["holdout"] - tally.played), dev_clusters=len(tally.clusters["dev"]),
                kinds=dict(tally.kinds), drafts=dict(tally.drafts), available=available.get(slug, 0),
            )
        )  # fmt: skip
    standings.sort(key=lambda one: (one.is_covered(policy) or not one.owes_cases, -one.share, one.slug))
    countdown = count_down(
        standings, policy, protected_clusters=len({clusters[key] for key in protected if key in clusters}),
        num_uncurated=len(uncurated(stable, benchmark)) if stable else 0, looks=benchmark.holdout_looks,
    )  # fmt: skip
    return Coverage(tuple(standings), countdown, policy)


class _Tally:
    """What a benchmark has of one intent."""

    def __init__(self) -> None:
        self.num_verify = 0
        self.clusters: dict[str, set[str]] = defaultdict(set)
        self.played: frozenset[str] = frozenset()
        self.kinds: Counter[str] = Counter()
        self.drafts: Counter[str] = Counter()


def _tally(benchmark: Benchmark) -> tuple[dict[str, _Tally], dict[object, str]]:
    """Return the tallies by intent, and the clusters of the active verify cases by their ids."""
    played = RunCase.objects.filter(split=Case.Split.HOLDOUT, run__agent_id=benchmark.agent_id)
    seen = frozenset(played.values_list("cluster", flat=True).distinct())
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    clusters: dict[object, str] = {}
    rows = benchmark.cases.exclude(status=Case.Status.RETIRED).order_by()
    for key, slug, split, kind, status, cluster in rows.values_list(
        "pk", "intent__slug", "split", "kind", "status", "cluster"
    ):
        tally = tallies[slug or ""]
        tally.played = seen
        if status == Case.Status.DRAFT:
            tally.drafts[split] += 1
            continue
        tally.kinds[kind] += 1
        tally.clusters[split].add(cluster)
        if split == Case.Split.VERIFY:
            tally.num_verify += 1
            clusters[key] = cluster
    return tallies, clusters


def _available(benchmark: Benchmark) -> dict[str, int]:
    """Return by intent how many captured conversations drafts could be made of."""
    rows = draftable(benchmark.agent).order_by().values("intent__slug", "intent__state").annotate(number=Count("id"))
    counts: Counter[str] = Counter()
    for row in rows:
        is_retired = row["intent__state"] == Intent.State.RETIRED
        counts["" if is_retired else row["intent__slug"] or ""] += row["number"]
    return dict(counts)
