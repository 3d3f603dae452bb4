"""Judge a run of paired trials: `judge(results, policy)` returns pass, fail or hold with every number it used.

Value objects in, value objects out: no database, no clock, no network, no shared random stream.
"""

from evals.gate.judgment import judge
from evals.gate.policy import PROFILES, GatePolicy, GatePolicyError

__all__ = ["PROFILES", "GatePolicy", "GatePolicyError", "judge"]
