"""Between the buttons of an episode's page and the verbs that flag and correct."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from accounts.acting import Actor
from episodes.models import Episode, Intent

__all__ = ["CorrectionFields", "FlagFields", "correct_one", "correct_together", "flag_one", "flag_together"]


class FlagFields(BaseModel):
    """What is wrong with an episode."""

    mark: Literal["wrong", "unhelpful", "unsafe", "tone", "slow", "should_escalate"] = Field(
        title="What is wrong", description="Unhelpful: correct, but of no use. Should escalate: a person was needed."
    )


class CorrectionFields(BaseModel):
    """What should have happened."""

    title: str = Field(default="", max_length=200, description="A short name for it.")
    answer: str = Field(default="", max_length=8_000, description="The answer the user should have had.")
    tool: str = Field(default="", max_length=120, description="The tool that should have been called, if one was needed.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Its right arguments, as a JSON object.")
    should_escalate: bool = Field(default=False, description="A person should have taken over.")
    intent: str = Field(default="", max_length=80, description="The want, by its slug; empty takes the conversation's own.")


def flag_together(episodes: Sequence[Episode], *, by: Actor, reason: str, mark: str) -> str:
    from episodes.judging import flag  # noqa: PLC0415  # x

    for episode in episodes:
        flag(episode, reason=mark, note=reason, by=by)
    return f"{len(episodes)} episodes are flagged." if len(episodes) != 1 else "The episode is flagged."


def flag_one(episode: Episode, **fields: Any) -> str:
    return flag_together([episode], **fields)


def correct_together(episodes: Sequence[Episode], *, by: Actor, reason: str, intent: str, **said: Any) -> str:
    from episodes.judging import correct  # noqa: PLC0415  # x

    correct(episodes, by=by, **said)
    return f"The correction covers {len(episodes)} episodes." if len(episodes) != 1 else "The episode is corrected."


def correct_one(episode: Episode, **fields: Any) -> str:
    return correct_together([episode], **fields)
