"""Rollouts, who was served what, what the guard read, and each user's own layer."""

from releases.models.facts import Exposure, GuardTick
from releases.models.release import Release, ReleaseApproval
from releases.models.user_state import UserState

__all__ = ["Exposure", "GuardTick", "Release", "ReleaseApproval", "UserState"]
