"""What an agent imports: fetch the harness it runs on, report the episodes it lived through.

The platform being slow, down or wrong never becomes the agent's failure: reads fall back to the last known good
harness and say so in `Resolved.source`, writes queue in the background and `Client.flush` tells what was lost.
"""

from whetstone.client import Client
from whetstone.episodes import EpisodeQueue, Report
from whetstone.harness import HarnessHandle, Resolved

__all__ = ["Client", "EpisodeQueue", "HarnessHandle", "Report", "Resolved"]
