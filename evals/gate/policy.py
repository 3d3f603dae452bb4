"""Hold every number the gate decides by, in one frozen value that a Policy version can carry as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, Self

__all__ = ["ADVISABLE", "PROFILES", "GatePolicy", "GatePolicyError"]

# The laws of the small change, lost trials and critical violations decide under every policy.
ADVISABLE = frozenset(
    {"target", "protected", "slices", "coverage", "latency", "cost", "escalation", "crashes", "holdout", "leakage"}
)


class GatePolicyError(ValueError):
    """A gate policy names a number the gate does not know, or one outside its range."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """The gate's numbers; the defaults are the platform's.

    Sizes count clusters. Fractions are of one: margins and effects of .05 are 5 percentage points.
    In `fixed` mode the first look spends the whole alpha and a resumed hold tests at `resumed_alpha`; in `sequential`
    mode look k has k trials and the alphas, confidences and futility limits of the `look_*` tuples.

    `advisory` names gates that inform and do not decide: an agent can be watched under the gate before it is bound by
    it, and an ablation can show what the gate is worth. Each is an override that every verdict carries.

    `simulated_counts` says whether cases with simulated users prove anything; the `simulation_*` numbers are how like
    recorded conversations they must be shown to be: shares within `share`, means within `ratio` of the recorded.
    """

    profile: str = "default"
    mode: Literal["fixed", "sequential"] = "fixed"
    trials: int = 3
    dropped_max: float = 0.05
    advisory: tuple[str, ...] = ()

    target_alpha: float = 0.05
    target_min_clusters: int = 24
    target_power: float = 0.80
    target_default_effect: float = 0.20
    improvement_ratio: float = 0.95
    enables_min_cases: int = 5

    protected_margin: float = 0.05
    protected_confidence: float = 0.95
    protected_min_clusters: int = 160

    slice_alpha: float = 0.05
    slice_min_cases: int = 3
    slice_broken_share: float = 0.50

    coverage: float = 0.95
    coverage_min_cases: int = 5

    latency_ratio: float = 1.10
    latency_floor_ms: float = 100.0
    cost_ratio: float = 1.10
    cost_ratio_person: float = 1.30
    cost_person_gain: float = 0.10

    crash_alpha: float = 0.05
    escalation_alpha: float = 0.20

    holdout_alpha: float = 0.20
    holdout_min_clusters: int = 24
    holdout_share_of_verify: float = 1.0
    holdout_look_budget: int = 20

    effect_person: float = 0.10
    effect_two_people: float = 0.20
    leakage_alpha: float = 0.05
    leakage_words: int = 8
    leakage_people: int = 2
    fdp_per_attempt: float = 0.01
    fdp_limit: float = 0.10
    approvals: int = 1

    judge_kappa: float = 0.70
    judge_kappa_lower: float = 0.55
    judge_labels: int = 100
    judge_arm_gap: float = 0.05

    simulated_counts: Literal["calibrated", "always", "never"] = "calibrated"
    simulation_share: float = 0.15
    simulation_ratio: float = 0.25
    simulation_min_clusters: int = 20

    resumed_alpha: float = 0.01
    resumed_looks: int = 2
    look_target_alphas: tuple[float, ...] = (0.005, 0.015, 0.04)
    look_protected_confidences: tuple[float, ...] = (0.99, 0.99, 0.95)
    look_futilities: tuple[float, ...] = (0.50, 0.30)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not _fits(one.name, value, one.default):
                msg = f"Gate policy {one.name!r} is {value!r}; it needs a value like its default {one.default!r}."
                raise GatePolicyError(msg)
        if strangers := sorted(set(self.advisory) - ADVISABLE):
            msg = f"Gates {strangers!r} cannot be advisory; those that can are {sorted(ADVISABLE)}."
            raise GatePolicyError(msg)
        if len(self.look_protected_confidences) != len(self.look_target_alphas):
            msg = "Give 'look_protected_confidences' one value for each of 'look_target_alphas'."
            raise GatePolicyError(msg)

    @property
    def looks(self) -> int:
        """Return how many looks the plan has before a hold for want of evidence becomes a fail."""
        return len(self.look_target_alphas) if self.mode == "sequential" else 1 + self.resumed_looks

    @property
    def asks_for_holdout(self) -> bool:
        """Return whether a winner must be confirmed: both sizes of the hold-out at zero ask for none."""
        return self.holdout_min_clusters > 0 or self.holdout_share_of_verify > 0

    def is_interim(self, look: int) -> bool:
        """Return whether a sequential plan goes on after this look, so that only futility may end it."""
        return self.mode == "sequential" and look < self.looks

    def trials_at(self, look: int) -> int:
        """Return the trials each case and arm owe at this look."""
        return min(look, self.looks) if self.mode == "sequential" else self.trials

    def target_alpha_at(self, look: int) -> float:
        """Return the superiority test's alpha at this look."""
        if self.mode == "sequential":
            return self.look_target_alphas[min(look, self.looks) - 1]
        return self.target_alpha if look == 1 else self.resumed_alpha

    def protected_confidence_at(self, look: int) -> float:
        """Return the non-inferiority bound's confidence at this look."""
        if self.mode == "sequential":
            return self.look_protected_confidences[min(look, self.looks) - 1]
        return self.protected_confidence if look == 1 else 1.0 - self.resumed_alpha

    def futility_at(self, look: int) -> float | None:
        """Return the p of either confirmatory test above which an interim look gives up, `None` where it may not."""
        return self.look_futilities[look - 1] if self.is_interim(look) and look <= len(self.look_futilities) else None

    def leakage_alpha_at(self, look: int) -> float:
        """Return the alpha of the verify-minus-hold-out gap at this look.

        A run that wins early was selected for a large gain on verify, so the gap of an honest change is large too:
        at the plain .05 half of the winners of a first look would be blocked. The gap spends the look's own alpha.
        """
        if self.mode == "sequential":
            return min(self.leakage_alpha, self.target_alpha_at(look))
        return self.leakage_alpha

    def as_mapping(self) -> dict[str, Any]:
        """Return every number as plain JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def overrides(self) -> dict[str, Any]:
        """Return the numbers that differ from the default profile, the profile's name left out."""
        default = GatePolicy().as_mapping()
        mine = self.as_mapping()
        return {name: value for name, value in mine.items() if name != "profile" and value != default[name]}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Start from the named `profile` (or the default) and apply the other keys; refuse unknown ones."""
        name = mapping.get("profile", "default")
        if name not in PROFILES:
            msg = f"Gate profile {name!r} is unknown; allowed are {sorted(PROFILES)}."
            raise GatePolicyError(msg)
        allowed = {one.name for one in fields(cls)}
        unknown = sorted(set(mapping) - allowed)
        if unknown:
            msg = f"Gate policy has unknown keys {unknown!r}; allowed are {sorted(allowed)}."
            raise GatePolicyError(msg)
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in mapping.items()}
        return cls(**asdict(PROFILES[name]) | given)


def _fits(name: str, value: object, default: object) -> bool:
    """Return whether a value has its default's type and a sane range."""
    match default:
        case "fixed":
            return value in {"fixed", "sequential"}
        case "calibrated":
            return value in {"calibrated", "always", "never"}
        case str():
            return isinstance(value, str)
        case ():
            return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
        case tuple():
            return isinstance(value, tuple) and bool(value) and all(_fits(name, one, default[0]) for one in value)
        case int():
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case _:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return False
            # Ratios and milliseconds are positive; everything else is a probability or a share.
            return value > 0 if name.startswith(("latency_", "cost_ratio")) else 0 <= value <= 1


# Only sizes and the number of trials differ, and for `small` the margin: alphas and tests never do.
_SMALL = GatePolicy(
    profile="small",
    target_min_clusters=12,
    holdout_min_clusters=8,
    holdout_share_of_verify=0.0,
    protected_min_clusters=60,
    protected_margin=0.10,
)
_DEMO = replace(_SMALL, profile="demo", trials=2, protected_min_clusters=100, protected_margin=0.05)
PROFILES: Mapping[str, GatePolicy] = MappingProxyType({"default": GatePolicy(), "small": _SMALL, "demo": _DEMO})
