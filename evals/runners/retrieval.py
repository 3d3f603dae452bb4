"""Which of a document's texts speak about what the user said: nearest by the bundled encoder."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from inference.encoder import Vectors, encode

__all__ = ["Library", "Passage"]

_KEPT_TEXTS = 8_192


@dataclass(frozen=True)
class Passage:
    """A text of `context.documents` that was found, with the cosine to what was asked."""

    doc_id: str
    title: str
    text: str
    score: float


class Library:
    """Finds texts, and encodes each of them once however often it is looked for. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    def find(
        self, documents: Mapping[str, Mapping[str, Any]], query: str, *, top_k: int, min_score: float, today: date
    ) -> list[Passage]:
        """Return the best `top_k` texts of at least `min_score`, best first; those no longer valid are left out.

        A text's score is the highest cosine of the query to its title with its text, or to one of its tags.
        """
        valid = {name: one for name, one in documents.items() if not _has_expired(one, today)}
        if not query.strip() or not valid or top_k < 1:
            return []
        texts = {name: _texts(one) for name, one in valid.items()}
        vectors = self._encoded([text for found in texts.values() for text in found] + [query])
        asked = vectors[query]
        scores = {name: max(float(vectors[text] @ asked) for text in found) for name, found in texts.items()}
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:top_k]
        return [
            Passage(name, str(valid[name].get("title", "")), str(valid[name].get("text", "")), score)
            for name, score in best
            if score >= min_score
        ]

    def _encoded(self, texts: Sequence[str]) -> dict[str, Vectors]:
        with self._lock:
            known = {text: self._vectors[text] for text in texts if text in self._vectors}
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        if missing:
            fresh = dict(zip(missing, np.asarray(encode(missing)), strict=True))
            known |= fresh
            self._keep(fresh.items())
        return known

    def _keep(self, fresh: Iterable[tuple[str, Vectors]]) -> None:
        with self._lock:
            self._vectors.update(fresh)
            while len(self._vectors) > _KEPT_TEXTS:
                self._vectors.popitem(last=False)


def _texts(document: Mapping[str, Any]) -> list[str]:
    whole = f"{document.get('title', '')}. {document.get('text', '')}"
    return [whole, *(str(tag) for tag in document.get("tags", []) if str(tag).strip())]


def _has_expired(document: Mapping[str, Any], today: date) -> bool:
    until = document.get("valid_until")
    if not until:
        return False
    moment = datetime.fromisoformat(str(until))
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date() < today
