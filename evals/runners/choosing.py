"""Which runner plays an agent's harness: the one its setting names, or a refusal that says what is missing."""

from dataclasses import replace

from django.conf import settings

from evals.exceptions import RunnerError
from evals.runners.http_runner import HttpRunner
from evals.runners.openai_runner import OpenAiRunner
from evals.runners.protocol import Runner
from evals.runners.tooling import safe_tools
from harness.models import Agent
from harness.policy import Playing
from inference.client import AgentRef
from inference.configuration import Configuration

__all__ = ["runner_for"]


def runner_for(agent: Agent, playing: Playing | None = None) -> Runner:
    """Return the runner that plays the agent's harness within the limits of `playing`, else of its policy.

    Refuses where the agent's setting cannot play, saying what to set.
    """
    limits = playing or agent.current_policy().playing
    match Agent.Runner(agent.runner):
        case Agent.Runner.HTTP:
            return _http(agent, limits)
        case Agent.Runner.OPENAI:
            return _openai(agent, limits)
        case Agent.Runner.CRITIC | Agent.Runner.PROPOSER | Agent.Runner.JUDGE:
            from evals.runners.internal_runner import InternalRunner  # noqa: PLC0415  # judges import this package

            return InternalRunner(agent)
        case Agent.Runner.EXTERNAL:
            raise RunnerError(
                f"Agent {agent.slug!r} is played by its team's own CI: it fetches the cases of a run and posts results. "
                "Choose another runner to have it played here."
            )


def _http(agent: Agent, limits: Playing) -> HttpRunner:
    if not agent.endpoint:
        raise RunnerError(
            f"Agent {agent.slug!r} has no endpoint: set where its POST /turn is served, or choose another runner."
        )
    return HttpRunner(agent.endpoint, timeout_s=limits.trial_timeout_s)


def _openai(agent: Agent, limits: Playing) -> OpenAiRunner:
    """Return the loop at the agent's own endpoint, else at the platform's. No endpoint sees a key of another."""
    configuration = Configuration.from_settings()
    if agent.endpoint and agent.endpoint.rstrip("/") != configuration.endpoint.rstrip("/"):
        key = settings.INFERENCE_KEYS.get(agent.endpoint.rstrip("/"), "")
        configuration = replace(configuration, endpoint=agent.endpoint, api_key=key)
    if not configuration.endpoint:
        raise RunnerError(
            f"Agent {agent.slug!r} has no model to ask: set INFERENCE_ENDPOINT with its models and prices, or the agent's "
            "endpoint to the base URL of an OpenAI-compatible API."
        )
    return OpenAiRunner(
        configuration,
        AgentRef(agent_id=agent.pk, team_id=agent.team_id),
        safe=safe_tools(agent.stable.document) if agent.stable else {},
        timeout_s=limits.trial_timeout_s,
    )
