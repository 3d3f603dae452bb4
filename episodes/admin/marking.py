"""Between the buttons of an episode's page and the verbs that flag and correct."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from accounts.acting import Actor, acting
from episodes.exceptions import BadCorrectionError
from episodes.judging import CorrectionText, correct, flag, report_outcome
from episodes.models import Episode, Intent

__all__ = [
    "CorrectionFields", "FlagFields", "OutcomeFields", "correct_one", "correct_together", "flag_one", "flag_together",
    "report_ending",
]  # fmt: skip


class FlagFields(BaseModel):
    """What is wrong with an episode."""

    mark: Literal["wrong", "unhelpful", "unsafe", "tone", "slow", "should_escalate"] = Field(
        title="What is wrong", description="Unhelpful: correct, but of no use. Should escalate: a person was needed."
    )


class CorrectionFields(BaseModel):
    """What should have happened."""

    title: str = Field(default="", max_length=200, description="A short name for it.")
    answer: str = Field(default="", max_length=8_000, description="The answer the user should have had.")
    tool: str = Field(
        default="", max_length=120, description="The tool that should have been called, if one was needed."
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="Its right arguments, as a JSON object.")
    should_escalate: bool = Field(default=False, description="A person should have taken over.")
    intent: str = Field(
        default="", max_length=80, description="The want, by its slug; empty takes the conversation's own."
    )


class OutcomeFields(BaseModel):
    """How the conversation ended, by the word of staff."""

    name: Literal["resolved", "failed", "abandoned", "escalated", "blocked"] = Field(title="It ended")


def flag_together(episodes: Sequence[Episode], *, by: Actor, reason: str, mark: str) -> str:
    """Flag every one of `episodes`; what the form calls its reason is the flag's note."""
    for episode in episodes:
        flag(episode, reason=mark, note=reason, by=by)
    return "The episode is flagged." if len(episodes) == 1 else f"{len(episodes)} episodes are flagged."


def flag_one(episode: Episode, **fields: Any) -> str:
    return flag_together([episode], **fields)


def correct_together(episodes: Sequence[Episode], *, by: Actor, reason: str, intent: str, **said: Any) -> str:
    """Write one correction that covers all of `episodes`."""
    wanted = None
    if intent and episodes:
        wanted = Intent.objects.filter(agent=episodes[0].agent_id, slug=intent).first()
        if wanted is None:
            raise BadCorrectionError(
                f"There is no intent {intent!r} at this agent: name it by its slug, or leave it empty."
            )
    with acting(by, reason=reason):
        correct(episodes, CorrectionText(intent=wanted, **said), by=by)
    return "The episode is corrected." if len(episodes) == 1 else f"The correction covers {len(episodes)} episodes."


def correct_one(episode: Episode, **fields: Any) -> str:
    return correct_together([episode], **fields)


def report_ending(episode: Episode, *, by: Actor, reason: str, name: str) -> str:
    """Report as staff how the conversation ended; only the customer's own system outranks it."""
    report_outcome(episode, name=name, source="staff", by=by, reason=reason[:300])
    return f"Staff says: {name}."
