"""Whether a learning carries over to another model, read from the gate's statistics. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from evals.statistics import sign_flip_p

__all__ = ["Label", "Transfer", "transfer_of"]

type Label = Literal["transfers", "neutral", "harmful"]


@dataclass(frozen=True)
class Transfer:
    """What a learning is on a model, the numbers it was read from, and a sentence that says why."""

    label: Label
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)


def transfer_of(gates: Sequence[Mapping[str, Any]]) -> Transfer:
    """Read a comparison of a version with the one it was built on, both on the model in question.

    Harmful: the exact test of the target shows a loss, the protected estimate lies beyond its margin, or crashes rose.
    Transfers: the exact test shows the gain and the protected bound is within its margin. Neutral: neither was shown,
    which more clusters may change.
    """
    found = {gate["name"]: gate for gate in gates}
    target, protected = found["target"]["numbers"], found["protected"]["numbers"]
    alpha, p = target.get("alpha", 0.0), target.get("p", 1.0)
    p_loss = sign_flip_p([-one for one in target.get("differences", [])])
    numbers = {
        "effect": target.get("effect"), "clusters": target.get("clusters", 0), "p": p, "p_loss": p_loss, "alpha": alpha,
        "protected_mean": protected.get("mean"), "protected_lower_bound": protected.get("lower_bound"),
        "protected_margin": protected.get("margin"), "protected_clusters": protected.get("clusters", 0),
    }  # fmt: skip
    losses = _losses(found, p_loss, alpha)
    if losses:
        return Transfer("harmful", f"harmful: {' and '.join(losses)}.", numbers)
    gain = f"exact p of a gain {p:.4f} on {numbers['clusters']} clusters (alpha {alpha:g})"
    is_safe = _said(found["protected"]) == "pass" and numbers["protected_lower_bound"] is not None
    if p <= alpha and is_safe:
        bound = f"protected lower bound {numbers['protected_lower_bound'] * 100:+.1f} pp"
        return Transfer("transfers", f"transfers: {gain}; {bound}.", numbers)
    if p <= alpha:
        words = found["protected"]["sentence"].removeprefix("pass: advisory by policy; ").removeprefix("hold: ")
        return Transfer("neutral", f"neutral: {gain}, but what worked is not shown to work still: {words}", numbers)
    return Transfer("neutral", f"neutral: {gain}; neither a gain nor a loss is shown.", numbers)


def _losses(found: Mapping[str, Mapping[str, Any]], p_loss: float, alpha: float) -> list[str]:
    losses = [f"exact p of a loss {p_loss:.4f} (alpha {alpha:g})"] if p_loss <= alpha else []
    losses += [
        f"{name} {found[name]['sentence'].removeprefix('fail: ').rstrip('.')}"
        for name in ("protected", "crashes")
        if _said(found[name]) == "fail"
    ]
    return losses


def _said(gate: Mapping[str, Any]) -> str:
    """Return what the gate found, also where the policy made it advisory."""
    return str(gate["numbers"].get("advised", gate["verdict"]))
