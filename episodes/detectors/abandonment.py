"""A user who fell silent while the agent still owed them something."""

import re
from collections.abc import Sequence

from episodes.detectors.readings import Found, StepReading
from episodes.turns import Turn, last_text

__all__ = ["detect"]

_CLOSING = re.compile(
    r"\b(thanks|thank you|thx|cheers|bye|goodbye|that('|’)?s (all|everything|it)|perfect|great|awesome|all set|solved)\b",
    re.IGNORECASE,
)
_CANNOT = re.compile(
    r"\b(cannot|can('|’)?t|unable to|not able to) (help|assist|find|do that|answer)\b|\bgot no result\b|\bnot sure I underst",
    re.IGNORECASE,
)


def detect(turns: Sequence[Turn], last_steps: Sequence[StepReading]) -> Found | None:
    """Return an abandonment at the end of a silent conversation; `None` when it ended well enough.

    The agent had the last word and it was a question, an excuse, or came after an error, and the user had not
    closed. `turns` is the whole conversation with the agent's last answer, `last_steps` the steps of its last episode.
    """
    if not turns or turns[-1].role != "assistant" or _CLOSING.search(last_text(turns, "user")):
        return None
    answer = turns[-1].text
    failed = [step for step in last_steps if step.kind == "tool_call"][-1:]
    if failed and failed[0].has_failed:
        cause, layer = "error", "tools"
    elif answer.rstrip().endswith("?"):
        cause, layer = "question", "workflow"
    elif _CANNOT.search(answer):
        cause, layer = "excuse", "context"
    else:
        return None
    return Found("abandonment", layer, {"cause": cause, "quotes": [answer[-300:]], "turns": [len(turns) - 1]})
