"""Choose which captured episodes become draft cases: in proportion to traffic, over splits and kinds, nothing twice. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

__all__ = ["KIND_SHARES", "SPLIT_SHARES", "Candidate", "Place", "Plan", "choose"]

# The gate reads verify and hold-out cases, and as many hold-out clusters as verify ones at most; drafters need fewer.
SPLIT_SHARES: Mapping[str, float] = MappingProxyType({"verify": 0.5, "holdout": 0.25, "dev": 0.25})
# What works must be protected and what fails be mended; both in equal parts, and some of what is rare or dangerous.
KIND_SHARES: Mapping[str, float] = MappingProxyType(
    {"success": 0.35, "known_failure": 0.35, "edge": 0.15, "high_risk": 0.15}
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case stands: what the drafting counts by.

    `cluster` is the user or, where none is known, the conversation; `group` the conversation whose near-duplicate its
    source is, else the source itself. The split is the conversation's and never moved.
    """

    intent: str
    split: str
    kind: str
    cluster: str
    group: UUID | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An episode that may become a case. `strength` says how much is known of what must come of it, 0 for nothing.

    `order` breaks ties; equal candidates give an equal choice.
    """

    place: Place
    strength: int
    order: str


@dataclass(frozen=True)
class Plan:
    """How many cases to choose at most, how many each intent has at least, and in which parts.

    The floor comes first: many intents may ask for more cases than `number`.
    """

    number: int
    at_least: int
    shares: Mapping[str, float]
    splits: Mapping[str, float] = field(default_factory=lambda: SPLIT_SHARES)
    kinds: Mapping[str, float] = field(default_factory=lambda: KIND_SHARES)


def choose(candidates: Iterable[Candidate], existing: Sequence[Place], plan: Plan) -> list[Candidate]:
    """Return the candidates to draft, in the order in which they fill what is most missing.

    One case a conversation and its near-duplicates. New clusters come first, and a cluster stays in one split: what a
    drafter has read of a user in dev must not be asked of the same user in verify.
    """
    picker = _Picker(candidates, existing, plan)
    chosen: list[Candidate] = []
    for new_clusters_only in (True, False):
        picker.new_clusters_only = new_clusters_only
        chosen += picker.fill_floors()
        while len(chosen) < plan.number and (found := picker.pick(picker.neediest_intent())) is not None:
            chosen.append(found)
    return chosen


class _Picker:
    """What is there, what was chosen, and what may still be."""

    def __init__(self, candidates: Iterable[Candidate], existing: Sequence[Place], plan: Plan) -> None:
        self.plan = plan
        self.new_clusters_only = True
        self.waiting: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in sorted(candidates, key=lambda one: (-one.strength, one.order)):
            self.waiting[candidate.place.intent].append(candidate)
        self.by_intent: Counter[str] = Counter()
        self.by_split: dict[str, Counter[str]] = defaultdict(Counter)
        self.by_kind: dict[str, Counter[str]] = defaultdict(Counter)
        self.home: dict[str, str] = {}
        self.groups: set[UUID] = set()
        for place in existing:
            self._count(place)

    def fill_floors(self) -> list[Candidate]:
        """Bring each intent up to its least number, as far as there are candidates."""
        found = []
        for intent in sorted(self.waiting, key=lambda name: (-self.plan.shares.get(name, 0.0), name)):
            while self.by_intent[intent] < self.plan.at_least and (one := self.pick(intent)) is not None:
                found.append(one)
        return found

    def neediest_intent(self) -> str | None:
        """Return the intent that is furthest below its share of traffic, among those with candidates."""
        open_ = {intent for intent in self.waiting if self._open(intent)}
        return _neediest(self.plan.shares, self.by_intent, open_) if open_ else None

    def pick(self, intent: str | None) -> Candidate | None:
        """Take the strongest candidate of the split, then of the kind, that the intent lacks most."""
        open_ = self._open(intent) if intent is not None else []
        if intent is None or not open_:
            return None
        split = _neediest(self.plan.splits, self.by_split[intent], {one.place.split for one in open_})
        open_ = [one for one in open_ if one.place.split == split]
        kind = _neediest(self.plan.kinds, self.by_kind[intent], {one.place.kind for one in open_})
        found = next(one for one in open_ if one.place.kind == kind)
        self.waiting[intent].remove(found)
        self._count(found.place)
        return found

    def _open(self, intent: str) -> list[Candidate]:
        return [one for one in self.waiting[intent] if self._may(one.place)]

    def _may(self, place: Place) -> bool:
        if place.group in self.groups:
            return False
        home = self.home.get(place.cluster)
        return home is None or (home == place.split and not self.new_clusters_only)

    def _count(self, place: Place) -> None:
        self.by_intent[place.intent] += 1
        self.by_split[place.intent][place.split] += 1
        self.by_kind[place.intent][place.kind] += 1
        self.home.setdefault(place.cluster, place.split)
        if place.group is not None:
            self.groups.add(place.group)


def _neediest(shares: Mapping[str, float], have: Counter[str], among: AbstractSet[str]) -> str:
    """Return the name whose number is furthest below its share, by the divisors of Webster's method; ties by name."""
    return min(sorted(among), key=lambda name: -shares.get(name, 0.0) / (2 * have[name] + 1))
