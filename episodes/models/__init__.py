"""What agents lived through, and what was understood of it."""

from episodes.models.amendments import EpisodeAmendment
from episodes.models.judgments import CorrectedEpisode, Correction, Critique, Flag, Outcome
from episodes.models.patterns import Pattern, PatternMember
from episodes.models.records import Conversation, Episode
from episodes.models.search import EpisodeText
from episodes.models.tallies import CaptureTally
from episodes.models.traces import Trace, TraceFragment
from episodes.models.understanding import Intent, Signal

__all__ = [
    "CaptureTally",
    "Conversation",
    "CorrectedEpisode",
    "Correction",
    "Critique",
    "Episode",
    "EpisodeAmendment",
    "EpisodeText",
    "Flag",
    "Intent",
    "Outcome",
    "Pattern",
    "PatternMember",
    "Signal",
    "Trace",
    "TraceFragment",
]
