"""Play one turn of a conversation by a harness document. Everything the agent knows is in the document.

Pure but for the clock that times the steps: the same document, messages and tool results give the same turn.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.agent.arguments import extract
from demo.agent.retrieval import Encode, IndexedDocument, Vectors, index, passages, rank
from demo.agent.tools import Tools

__all__ = ["Library", "Turn", "play"]

type Document = Mapping[str, Any]
type Message = Mapping[str, str]

_FIELD = re.compile(r"\{result\.([A-Za-z_][A-Za-z0-9_]*)\}")
_WORD = re.compile(r"\w+")
_NUMBERED = re.compile(r"\S*\d\S*")
_SHORT_MESSAGE_WORDS = 4
_CACHED_DOCUMENTS = 2_000
_CHARACTERS_PER_TOKEN = 4
# The list price of a small hosted model, so that longer prompts and documents cost more here as they do elsewhere.
_USD_PER_INPUT_TOKEN = 0.15e-6
_USD_PER_OUTPUT_TOKEN = 0.60e-6

_CANNOT_HELP = "I am sorry, I cannot help with that."
_REPHRASE = "I am not sure I understood. Could you say it in other words?"
_HAND_OFF = "I am passing you on to a colleague, who will take it from here."


@dataclass(frozen=True, slots=True)
class Turn:
    """What the agent said and how it came to say it, in the words of the episode format."""

    output: dict[str, Any]
    steps: list[dict[str, Any]]
    usage: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the turn as the HTTP answer carries it."""
        return {"output": self.output, "steps": self.steps, "usage": self.usage}


class Library:
    """Encoded context documents, kept by content: a changed document is encoded once, the others not again."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, ...], IndexedDocument] = OrderedDict()

    def vector(self, message: str) -> Vectors:
        """Return the unit vector of a message."""
        vector: Vectors = self._encode([message])[0]
        return vector

    def indexed(self, documents: Mapping[str, Document]) -> list[IndexedDocument]:
        """Return the documents ready for `rank`; those without text cannot answer and are left out."""
        keys = {doc_id: (doc_id, *passages(entry)) for doc_id, entry in documents.items() if entry.get("text")}
        with self._lock:
            found = {key: self._known[key] for key in keys.values() if key in self._known}
        fresh = index({doc_id: documents[doc_id] for doc_id, key in keys.items() if key not in found}, self._encode)
        found |= {keys[document.doc_id]: document for document in fresh}
        with self._lock:
            for key, document in found.items():
                self._known[key] = document
                self._known.move_to_end(key)
            while len(self._known) > _CACHED_DOCUMENTS:
                self._known.popitem(last=False)
        return list(found.values())


@dataclass(slots=True)
class _Play:
    """One turn under way: the document it follows and the steps so far."""

    document: Document
    user_texts: list[str]
    tools: Tools
    steps: list[dict[str, Any]] = field(default_factory=list)
    read: list[str] = field(default_factory=list)

    def layer(self, *keys: str) -> Mapping[str, Any]:
        """Return a mapping inside the document, empty where the document has none."""
        value: Any = self.document
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else {}

    def step(self, kind: str, name: str, *, latency_ms: float = 0.0, error: str | None = None, **data: Any) -> None:
        """Record a step; `data` is its input and output."""
        self.steps.append(
            {
                "kind": kind,
                "name": name,
                "attempt": 1,
                "input": data.get("input", {}),
                "output": data.get("output", {}),
                "status": "error" if error else "ok",
                "error": error,
                "latency_ms": latency_ms,
            }
        )

    def says(self, text: str, *, handoff: bool = False, sources: Sequence[str] = ()) -> dict[str, Any]:
        return {"text": text, "handoff": handoff, "sources": list(sources)}

    def hands_off(self, reason: str) -> dict[str, Any]:
        self.step("handoff", "person", output={"reason": reason})
        return self.says(_HAND_OFF, handoff=True)


def play(document: Document, messages: Sequence[Message], tools: Tools, library: Library) -> Turn:
    """Return the agent's next turn: guardrails first, then the nearest document, its tool, its text."""
    started = time.perf_counter()
    user_texts = [str(message.get("content") or "") for message in messages if message.get("role") == "user"]
    turn = _Play(document, user_texts or [""], tools)
    output = _guarded(turn) or _answered(turn, library)
    return Turn(output, turn.steps, _usage(turn, messages, output["text"], _since(started)))


def _guarded(turn: _Play) -> dict[str, Any] | None:
    """Return the hand-off that a guardrail demands; None when no rule fires."""
    words = [word.lower() for word in _WORD.findall(turn.user_texts[-1])]
    for rule_id, rule in sorted(turn.layer("guardrails", "rules").items()):
        phrase = [word.lower() for word in _WORD.findall(str(rule.get("when") or ""))]
        fires = phrase and all(any(word.startswith(part) for word in words) for part in phrase)
        if fires and rule.get("then") == "escalate":
            turn.step("check", rule_id, output={"fired": True, "then": "escalate"})
            return turn.hands_off(f"guardrail {rule_id}")
    return None


def _answered(turn: _Play, library: Library) -> dict[str, Any]:
    started = time.perf_counter()
    documents = turn.layer("context", "documents")
    retrieval = turn.layer("context", "retrieval")
    minimum = float(retrieval.get("min_score") or 0.0)
    query = _query(turn.user_texts)
    indexed = library.indexed(documents)
    ranked = rank(library.vector(query), indexed) if indexed else []
    shown = [{"id": doc_id, "score": round(score, 4)} for doc_id, score in ranked[: int(retrieval.get("top_k") or 3)]]
    turn.step(
        "retrieval",
        "context.documents",
        latency_ms=_since(started),
        input={"query": query},
        output={"documents": shown, "min_score": minimum},
    )
    if ranked and ranked[0][1] >= minimum:
        return _from_document(turn, ranked[0][0], documents[ranked[0][0]])
    confidence = turn.layer("workflow", "settings").get("handoff_confidence")
    score = ranked[0][1] if ranked else 0.0
    if confidence is not None and score < float(confidence):
        return turn.hands_off(f"retrieval score {score:.2f} is below {float(confidence):.2f}")
    return turn.says(_REPHRASE if ranked else _CANNOT_HELP)


def _query(user_texts: Sequence[str]) -> str:
    """Return the last message; one of few words beside its numbers is read with the one before, which it completes."""
    last = user_texts[-1]
    if len(user_texts) > 1 and len(_WORD.findall(_NUMBERED.sub(" ", last))) < _SHORT_MESSAGE_WORDS:
        return f"{user_texts[-2]} {last}"
    return last


def _from_document(turn: _Play, doc_id: str, entry: Document) -> dict[str, Any]:
    text = str(entry["text"])
    turn.read.append(text)
    tool_name = entry.get("tool")
    if tool_name:
        row, complaint = _looked_up(turn, str(tool_name))
        if row is None:
            return turn.says(complaint, sources=[doc_id])
        text = _FIELD.sub(lambda match: str(row.get(match[1], "unknown")), text)
    return turn.says(" ".join((*_lines(turn, "opening"), text, *_lines(turn, "closing"))), sources=[doc_id])


def _looked_up(turn: _Play, name: str) -> tuple[Mapping[str, Any] | None, str]:
    """Return (row, "") of the tool's result, or (None, what to tell the user)."""
    tool = turn.layer("tools", name)
    if not tool or tool.get("enabled") is False:
        return None, f"{_CANNOT_HELP} I have no way to look that up."
    arguments, missing = extract(tool, "\n".join(turn.user_texts))
    if missing:
        return None, f"Could you give me the {' and the '.join(name.replace('_', ' ') for name in missing)}?"
    result = turn.tools.call(name, arguments)
    turn.step(
        "tool_call",
        name,
        latency_ms=result.latency_ms,
        error=result.error,
        input=dict(arguments),
        output=dict(result.row or {}),
    )
    if result.row is None:
        return None, f"I tried to look that up but got no result: {result.error}."
    return result.row, ""


def _lines(turn: _Play, place: str) -> Iterator[str]:
    """Yield what `prompt.rules` has the agent say at the opening or closing of an answer, in order of position."""
    rules = turn.layer("prompt", "rules")
    for _, rule in sorted(rules.items(), key=lambda item: (item[1].get("position") or 0, item[0])):
        if rule.get("say") == place and rule.get("text"):
            yield str(rule["text"])


def _usage(turn: _Play, messages: Sequence[Message], reply: str, latency_ms: float) -> dict[str, Any]:
    prompt = [str(turn.layer("prompt").get("system") or "")]
    prompt += [str(rule.get("text") or "") for rule in turn.layer("prompt", "rules").values()]
    prompt += [str(message.get("content") or "") for message in messages]
    input_tokens = sum(map(len, prompt + turn.read)) // _CHARACTERS_PER_TOKEN + 1
    output_tokens = len(reply) // _CHARACTERS_PER_TOKEN + 1
    cost_usd = input_tokens * _USD_PER_INPUT_TOKEN + output_tokens * _USD_PER_OUTPUT_TOKEN
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost_usd": round(cost_usd, 9),
        "latency_ms": latency_ms,
    }


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
