"""Ask for an answer of a given shape and read it back, without network or database."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

__all__ = ["Message", "read_answer", "repair_request", "response_format", "with_schema"]

type Message = Mapping[str, Any]

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_SHOWN_PROBLEMS = 12


def with_schema(messages: Sequence[Message], schema: type[BaseModel]) -> list[Message]:
    """Return the messages led by the demand for one JSON object of this schema.

    It is said in words too, because many compatible endpoints accept a `response_format` and then ignore it.
    """
    text = json.dumps(schema.model_json_schema(), ensure_ascii=False)
    demand = f"Answer with one JSON object and nothing else. It must fit this JSON Schema:\n{text}"
    return [{"role": "system", "content": demand}, *messages]


def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the wire form of the demand; not strict, because strict mode allows only a part of JSON Schema."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", schema.__name__)[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema.model_json_schema(), "strict": False}}


def read_answer[M: BaseModel](text: str, schema: type[M]) -> M:
    """Return the object an answer holds, bare, in a code fence, or inside prose. Raises pydantic's ValidationError."""
    try:
        return schema.model_validate_json(text)
    except ValidationError:
        enclosed = _enclosed_json(text)
        if enclosed is None:
            raise
        return schema.model_validate_json(enclosed)


def repair_request(text: str, error: ValidationError) -> list[Message]:
    """Return the two messages of the repair round: the answer as it was, and what is wrong with it."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"- {'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}" for problem in problems]
    if len(lines) > _SHOWN_PROBLEMS:
        lines = [*lines[:_SHOWN_PROBLEMS], f"- and {len(lines) - _SHOWN_PROBLEMS} more"]
    complaint = "Your answer does not fit the JSON Schema:\n" + "\n".join(lines)
    return [
        {"role": "assistant", "content": text},
        {"role": "user", "content": f"{complaint}\nAnswer again with the whole corrected JSON object, nothing else."},
    ]


def _enclosed_json(text: str) -> str | None:
    fenced = _FENCED.findall(text)
    if fenced:
        return str(fenced[-1])
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else None
