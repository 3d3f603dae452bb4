"""The parts of a reply that structured expectations read, as clean JSON."""

import re
from collections.abc import Mapping
from typing import Any

from accounts.exceptions import DomainError
from evals.scorers.reply import Reply
from harness.canonical import Json, clean_json, parse_json

__all__ = ["OF", "UnreadableReplyError", "json_part"]

MAX_BYTES = 1_000_000
OF: Mapping[str, Any] = {"type": "string", "enum": ["text", "output", "state", "steps", "messages"]}
_FENCED = re.compile(r"\A\s*```[A-Za-z0-9]{0,10}[ \t]*\n(.*)\n[ \t]*```\s*\Z", re.DOTALL)


class UnreadableReplyError(DomainError):
    """What an expectation looks at is no JSON that can be read."""

    code = "unreadable_reply"
    http_status = 422


def json_part(reply: Reply, of: str) -> Json:
    """Return what `of` names; `text` is the last answer read as JSON, with or without a code fence around it."""
    try:
        if of == "text":
            fenced = _FENCED.match(reply.text)
            return parse_json(fenced[1] if fenced else reply.text, max_bytes=MAX_BYTES)
        parts: dict[str, Any] = {
            "output": reply.answer, "state": dict(reply.final_state), "steps": [dict(step) for step in reply.acts],
            "messages": [dict(turn) for turn in reply.turns],
        }  # fmt: skip
        return clean_json(parts[of], max_bytes=MAX_BYTES, allow_big_integers=True)
    except DomainError as error:
        raise UnreadableReplyError(f"its {of} cannot be read as JSON: {error}") from error
