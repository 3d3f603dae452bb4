"""Ways of writing one small change. Each module holds one; `STRATEGIES` lists them all."""

from proposals.strategies import context, tools
from proposals.strategies.protocol import StrategySpec

__all__ = ["STRATEGIES"]

STRATEGIES: tuple[StrategySpec, ...] = (context.STRATEGY, tools.STRATEGY)
