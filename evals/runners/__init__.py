"""Who plays a harness: the protocol, the runners behind it, and the choice of one for an agent."""

from evals.runners.choosing import runner_for
from evals.runners.http_runner import HttpRunner
from evals.runners.openai_runner import OpenAiRunner
from evals.runners.protocol import InfrastructureError, Played, Runner

__all__ = ["HttpRunner", "InfrastructureError", "OpenAiRunner", "Played", "Runner", "runner_for"]
