"""Scorers: what a case may expect of a reply, each of them pure, with a score from 0 to 1 and a reason in words."""

from evals.scorers.handoffs import requires_escalation
from evals.scorers.registry import SCORERS, problem_of
from evals.scorers.reply import Reply
from evals.scorers.scorer import Part, Scorer

__all__ = ["SCORERS", "Part", "Reply", "Scorer", "problem_of", "requires_escalation"]
