"""Small reviewable changes, who wrote them, who judged them, and the strategies that draft them."""

from proposals.models.proposal import Proposal
from proposals.models.reviews import Author, Evidence, Review
from proposals.models.strategy import Strategy

__all__ = ["Author", "Evidence", "Proposal", "Review", "Strategy"]
