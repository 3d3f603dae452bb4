"""Read a case's conversation: none, a script or a simulated user, with a clear refusal of anything else. Pure."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from accounts.exceptions import DomainError
from episodes.turns import turns_of
from evals.conversing.persona import SimulatedUser
from evals.conversing.script import Script

__all__ = [
    "ConversationError", "Talk", "as_mapping", "is_simulated", "kind_of", "lines_of", "talk_of", "validate_conversation",
]  # fmt: skip

type Talk = Script | SimulatedUser

_KINDS = ("scripted", "simulated")
_TALKS: TypeAdapter[Script | SimulatedUser] = TypeAdapter(
    Annotated[Script | SimulatedUser, Field(discriminator="kind")]
)


class ConversationError(DomainError):
    """A case describes its conversation in a way nobody can play."""

    code = "invalid_conversation"
    http_status = 422


def kind_of(conversation: Mapping[str, Any]) -> str:
    """Return `single`, `scripted` or `simulated`."""
    return str(conversation.get("kind", "single"))


def is_simulated(conversation: Mapping[str, Any]) -> bool:
    """Tell whether the user of a case is made up as the talk goes on."""
    return kind_of(conversation) == "simulated"


def talk_of(conversation: Mapping[str, Any]) -> Talk | None:
    """Return the script or the simulated user; `None` for a case of a single turn. Raise `ConversationError`."""
    if not conversation:
        return None
    try:
        return _TALKS.validate_python(dict(conversation))
    except ValidationError as error:
        raise ConversationError(_sentence(error)) from error


def as_mapping(talk: Talk) -> dict[str, Any]:
    """Return plain JSON that `talk_of` turns back into an equal value; defaults are left out."""
    return {"kind": talk.kind} | talk.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def validate_conversation(conversation: object, messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise `ConversationError` unless the conversation can be played after these messages."""
    if not isinstance(conversation, Mapping):
        raise ConversationError(
            f"The conversation is {type(conversation).__name__}; give an object, or {{}} for a case of a single turn."
        )
    talk = talk_of(conversation)
    if talk is None:
        return
    opens = isinstance(talk, Script) or talk.opening is not None
    if not opens and not _awaits_reply(messages):
        raise ConversationError(
            "Nobody opens the conversation: give the simulated user an 'opening', or let 'messages' end with the user's."
        )
    if isinstance(talk, SimulatedUser) and talk.opening is not None and _awaits_reply(messages):
        raise ConversationError(
            "The conversation is opened twice: 'messages' ends with the user's, and there is an 'opening'. Keep one."
        )


def _awaits_reply(messages: Sequence[Mapping[str, Any]]) -> bool:
    said = turns_of(list(messages[-1:]))
    return bool(said) and said[0].role == "user"


def _sentence(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False)[0]
    if problem["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return f"A conversation's kind is one of {_KINDS}; leave the conversation empty for a case of a single turn."
    place = ".".join(str(part) for part in problem["loc"] if part not in _KINDS)
    return f"The conversation cannot be played. {place or 'It'}: {problem['msg'].removeprefix('Value error, ')}."


def lines_of(conversation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the conversation as people read it: pairs of a label and a text; none for a single turn."""
    talk = talk_of(conversation)
    match talk:
        case None:
            return []
        case Script():
            return [(_label(turn.only_if, turn.unless), turn.say) for turn in talk.turns]
    low, high = talk.patience
    shares = ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in talk.reactions.shares().items())
    lines = [
        ("Simulated user", f"played by {'a model' if talk.by == 'model' else 'rules'}"),
        ("Goal", talk.goal),
        ("Content when the reply", talk.met_when.words),
        *([("Opens with", talk.opening)] if talk.opening else []),
        *(("Or says", text) for text in talk.rephrasings),
        *((f"Knows {name}", fact.value) for name, fact in talk.facts.items()),
        ("Patience", f"{low} replies" if low == high else f"{low} to {high} replies"),
        ("Else", shares),
    ]
    return [*lines, *([("Style", talk.style)] if talk.style else [])]


def _label(only_if: Any, unless: Any) -> str:
    parts = ["Then says"]
    if only_if is not None:
        parts.append(f"if the reply {only_if.words}")
    if unless is not None:
        parts.append(f"unless the reply {unless.words}")
    return ", ".join(parts) if len(parts) > 1 else parts[0]
