"""Agents, their versions, what they are optimized for, the limits they live under, and the keys to them."""

from harness.models.agents import Agent, HarnessVersion, Revision
from harness.models.governing import Change, ObjectiveVersion, PolicyVersion, in_force, put_in_force
from harness.models.keys import ApiKey

__all__ = [
    "Agent", "ApiKey", "Change", "HarnessVersion", "ObjectiveVersion", "PolicyVersion", "Revision", "in_force",
    "put_in_force",
]  # fmt: skip
