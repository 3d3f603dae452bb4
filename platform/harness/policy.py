"""The limits the loop works under, as one immutable, numbered document of an agent, with the shipped profiles.

Sections that later stages read (`gate`, `plan`) are plain mappings here: each names a shipped `profile` of that stage
and any numbers that differ from it, and the stage refuses what it does not know. No proposal can touch a policy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.canonical import DocumentError, Json, JsonObject, clean_json, pointer
from harness.documents import Layer
from harness.limits import BUDGETS, PatchLimits
from harness.patches import Missing, changes
from harness.sensitive import KINDS

__all__ = [
    "PROFILES",
    "Approvals",
    "Autonomy",
    "Difference",
    "EffectLimits",
    "Playing",
    "Policy",
    "Redaction",
    "Retention",
    "StandingApproval",
    "Velocity",
    "default_policy",
    "demo_policy",
    "differences",
    "small_policy",
    "validate_policy",
]

_DAY_S = 86_400


def _plain(section: dict[str, Json]) -> dict[str, Json]:
    try:
        clean_json(section)
    except DocumentError as error:
        raise ValueError(str(error)) from error
    if not isinstance(section.get("profile", ""), str):
        message = f"'profile' is the name of a shipped profile, not {section['profile']!r}"
        raise ValueError(message)  # noqa: TRY004 - pydantic reports ValueError
    return section


def _default_section() -> dict[str, Json]:
    return {"profile": "default"}


type Share = Annotated[float, Field(ge=0, le=1)]
type Seconds = Annotated[float, Field(ge=0)]
type People = Annotated[int, Field(ge=1, le=10)]
type Section = Annotated[dict[str, Json], AfterValidator(_plain)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StandingApproval(_Part):
    """What a machine may start by itself: layers, greatest overall gain and weight. Two people sign the policy.

    Written down, not acted on yet: until releases ask `Policy.stands_for`, every release has its approvals.
    """

    layers: Annotated[list[Layer], Field(min_length=1)]
    effect_limit: Share
    max_weight: Share


class Autonomy(_Part):
    """Who moves a release: people only, a machine along an approved plan, or a machine within a standing approval.

    `bounded` moves as `advance` does until standing approvals are acted on.
    """

    mode: Literal["manual", "advance", "bounded"] = "advance"
    standing: StandingApproval | None = None


class EffectLimits(_Part):
    """Overall gains, predicted or measured, that people must look at because they are too good to be taken on trust."""

    person_at: Share = 0.10
    two_people_at: Share = 0.20


class Velocity(_Part):
    """How fast releases may follow one another.

    The acceleration numbers are those of `harness.controller.acceleration_alarm`; once it rings, one release per
    `throttle_s` may start until a person lifts it.
    """

    live_ramps: Annotated[int, Field(ge=1)] = 1
    cooldown_s: Seconds = _DAY_S
    throttle_s: Seconds = 7 * _DAY_S
    acceleration_mads: Annotated[float, Field(gt=0)] = 3.0
    acceleration_gain: Share = 0.10


class Approvals(_Part):
    """How many people approve a release plan, by risk, and how long an approval holds."""

    low_risk: People = 1
    high_risk: People = 2
    guardrails: People = 2
    expires_s: Seconds = 14 * _DAY_S


class Redaction(_Part):
    """Which findings (`harness.sensitive.KINDS`) are cut from episodes before they are stored."""

    kinds: list[str] = Field(default_factory=lambda: list(KINDS))


class Retention(_Part):
    """Days that records are meant to be kept; null for ever. A statement so far: nothing deletes by it yet."""

    episodes_days: Annotated[int, Field(ge=1)] | None = 400
    ledger_days: Annotated[int, Field(ge=1)] | None = 400


class Playing(_Part):
    """How the agent's exam is played: trials in flight at once, what a trial may take, what a run may spend before it asks.

    `budget_s` counts the seconds a run is played, not those it waits; null sets no limit. `reuse_baseline` lets results
    of the baseline from another run of the same day stand in where nothing that matters has changed.
    """

    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    trial_timeout_s: Annotated[float, Field(gt=0, le=900)] = 60.0
    budget_usd: Annotated[float, Field(ge=0)] | None = 100.0
    budget_s: Seconds | None = 6 * 3_600.0
    reuse_baseline: bool = True


class Policy(_Part):
    """The policy document. `benchmark` binds the agent's exam by its name; null means none is bound yet."""

    profile: str = "default"
    risk: Literal["low", "high"] = "low"
    patch: PatchLimits = PatchLimits()
    autonomy: Autonomy = Autonomy()
    effect_limits: EffectLimits = EffectLimits()
    velocity: Velocity = Velocity()
    approvals: Approvals = Approvals()
    gate: Section = Field(default_factory=_default_section)
    plan: Section = Field(default_factory=_default_section)
    playing: Playing = Playing()
    benchmark: str | None = None
    redaction: Redaction = Redaction()
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _is_coherent(self) -> "Policy":
        for problem in (*self._part_problems(), *self._autonomy_problems()):
            raise ValueError(problem)
        return self

    def document(self) -> JsonObject:
        """Return the policy as plain JSON."""
        plain: JsonObject = self.model_dump(mode="json")
        return plain

    def approvals_needed(self, layer: str, *, overall_gain: float = 0.0) -> int:
        """Return how many people must approve a release of a change in `layer` with this overall gain (a share)."""
        risk = self.approvals.high_risk if self.risk == "high" else self.approvals.low_risk
        guarded = self.approvals.guardrails if layer == "guardrails" else 1
        return max(risk, guarded, self.people_for(overall_gain))

    def people_for(self, overall_gain: float) -> int:
        """Return how many people must look at an overall gain before anything moves: 0, 1 or 2."""
        limits = self.effect_limits
        return (overall_gain >= limits.person_at) + (overall_gain >= limits.two_people_at)

    def stands_for(self, layer: str, *, overall_gain: float, weight: float) -> bool:
        """Tell whether the standing approval covers this change at this weight; without one it covers nothing."""
        standing = self.autonomy.standing
        if self.autonomy.mode != "bounded" or standing is None:
            return False
        return layer in standing.layers and overall_gain <= standing.effect_limit and weight <= standing.max_weight

    def _part_problems(self) -> list[str]:
        problems = []
        unknown = sorted(self.patch.lines.keys() - BUDGETS.keys())
        if unknown:
            problems.append(f"patch.lines names {unknown!r}; the parts are {', '.join(BUDGETS)}")
        if any(lines < 0 for lines in self.patch.lines.values()):
            problems.append("patch.lines has a negative budget; 0 forbids a part")
        strange = sorted(set(self.redaction.kinds) - set(KINDS))
        if strange:
            problems.append(f"redaction.kinds names {strange!r}; the kinds are {', '.join(KINDS)}")
        if self.effect_limits.person_at > self.effect_limits.two_people_at:
            problems.append("effect_limits.person_at is above two_people_at; one person looks before two do")
        return problems

    def _autonomy_problems(self) -> list[str]:
        standing = self.autonomy.standing
        if self.autonomy.mode != "bounded":
            return []
        if standing is None:
            return ["autonomy 'bounded' needs a standing approval: its layers, effect_limit and max_weight"]
        problems = []
        if self.risk != "low":
            problems.append("autonomy 'bounded' is for agents of low risk; use 'advance'")
        if "guardrails" in standing.layers:
            problems.append("a standing approval cannot cover guardrails; remove that layer")
        if standing.effect_limit >= self.effect_limits.person_at:
            problems.append("a standing approval's effect_limit must be below effect_limits.person_at")
        return problems


@dataclass(frozen=True)
class Difference:
    """One number or choice in which a policy departs from a profile; `None` where one of them has nothing there."""

    path: str
    profile_value: Json
    value: Json


def validate_policy(value: object) -> Policy:
    """Return the policy a document describes, or raise `DocumentError` saying what is wrong and where."""
    try:
        return Policy.model_validate(clean_json(value))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        path = pointer(str(part) for part in problem["loc"])
        sentence = f"The policy is not valid. {path or '/'}: {problem['msg']}."
        raise DocumentError("invalid_policy", sentence, path) from error


def default_policy() -> JsonObject:
    """Return the shipped policy for agents with enough traffic to judge at the platform's defaults."""
    return Policy().document()


def small_policy() -> JsonObject:
    """Return the shipped policy for agents with little traffic: wider margin, fewer cases, so coarser promises."""
    return Policy(profile="small", gate={"profile": "small"}, plan={"profile": "small"}).document()


def demo_policy() -> JsonObject:
    """Return the demo's policy: only clocks and shipped sample sizes differ from the default, its laws never do."""
    velocity = Velocity(cooldown_s=1.0, throttle_s=1.0)
    return Policy(profile="demo", velocity=velocity, gate={"profile": "demo"}, plan={"profile": "demo"}).document()


PROFILES: Mapping[str, Callable[[], JsonObject]] = {
    "default": default_policy,
    "small": small_policy,
    "demo": demo_policy,
}


def differences(policy: JsonObject, profile: JsonObject) -> list[Difference]:
    """Return every value in which a policy document departs from a profile's, by path."""
    return [
        Difference(
            pointer(change.path),
            None if isinstance(change.old, Missing) else change.old,
            None if isinstance(change.new, Missing) else change.new,
        )
        for change in changes(profile, policy)
    ]
