"""Which of the harness's documents speak about a message: pure vector arithmetic, no model and no clock in it.

A document is represented by the unit vectors of its passages (title, title with text, each tag). Its score for a
message is half the cosine to its nearest passage and half the cosine to its passages' centroid: the nearest passage
catches a wording seen before, the centroid keeps one odd tag from winning. The score lies in [-1, 1].
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Encode", "IndexedDocument", "Vectors", "index", "passages", "rank"]

type Vectors = npt.NDArray[np.float32]
type Encode = Callable[[list[str]], Vectors]


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A context document ready for retrieval: `vectors` (passages, dim) of unit length and their unit centroid."""

    doc_id: str
    vectors: Vectors
    centroid: Vectors


def passages(document: Mapping[str, Any]) -> list[str]:
    """Return the texts that stand for a context document: its title, its title with text, each tag; none twice."""
    title = str(document.get("title") or "").strip()
    text = str(document.get("text") or "").strip()
    tags = [str(tag).strip() for tag in document.get("tags") or []]
    together = f"{title}. {text}" if title and text else ""
    return list(dict.fromkeys(passage for passage in (title, together or text, *tags) if passage))


def index(documents: Mapping[str, Mapping[str, Any]], encode: Encode) -> tuple[IndexedDocument, ...]:
    """Encode `context.documents` for `rank`; all passages go to `encode` in one call, empty documents are left out."""
    texts = {doc_id: passages(document) for doc_id, document in documents.items()}
    wanted = [passage for found in texts.values() for passage in found]
    if not wanted:
        return ()
    vectors = encode(wanted)
    indexed: list[IndexedDocument] = []
    start = 0
    for doc_id, found in texts.items():
        if not found:
            continue
        own = vectors[start : start + len(found)]
        start += len(found)
        indexed.append(IndexedDocument(doc_id, own, _unit(own.sum(axis=0))))
    return tuple(indexed)


def rank(message_vector: Vectors, documents: Iterable[IndexedDocument]) -> list[tuple[str, float]]:
    """Return (document id, score) for every document, best first; equal scores in order of id.

    `message_vector` is one unit vector (dim,).
    """
    scored: list[tuple[str, float]] = []
    for document in documents:
        nearest, centroid = (document.vectors @ message_vector).max(), document.centroid @ message_vector
        scored.append((document.doc_id, float(nearest + centroid) / 2))
    return sorted(scored, key=lambda item: (-item[1], item[0]))


def _unit(vector: Vectors) -> Vectors:
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector
