"""What an agent imports: fetch the harness it runs on, report the episodes it lived through.

The platform being slow, down or wrong never becomes the agent's failure: a harness comes from memory, else from the
last known good one, and says so in `Harness.source`; episodes queue in the background, in memory or in a spool on disk,
and `Client.report` tells what became of them.
"""

from whetstone.attempts import Attempt, Budget, Checked, Iteration, aiterate, iterate
from whetstone.client import Client
from whetstone.delivery import Report
from whetstone.episodes import Episode, current_episode
from whetstone.harness import Harness

__all__ = [
    "Attempt",
    "Budget",
    "Checked",
    "Client",
    "Episode",
    "Harness",
    "Iteration",
    "Report",
    "aiterate",
    "current_episode",
    "iterate",
]
