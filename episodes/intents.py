"""What users want: intents defined by a sentence and examples, and conversations assigned to the nearest of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest
from django.utils.text import slugify
from pgvector.django import CosineDistance

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.record import record
from episodes.exceptions import BadIntentError
from episodes.models import Conversation, Intent
from episodes.patterns import adopt
from harness.canonical import clean_json
from harness.models import Agent
from inference.encoder import DIMENSIONS, MODEL_ID, Vectors, encode

__all__ = ["MIN_COSINE", "MIN_EXAMPLES", "Anchors", "count_assigned", "define", "reassign", "redefine"]

MIN_EXAMPLES = 3
# Anchors of four examples over 60 intents of the CLINC set: at this cosine 96 % of in-scope texts find an intent, 94 %
# of those the right one, and 38 % of texts that belong to none are taken. At .50 it is 88, 95 and 14 %.
MIN_COSINE = 0.40


@dataclass(frozen=True)
class Anchors:
    """The centers of an agent's live intents, ready to compare with."""

    ids: tuple[UUID, ...]
    centers: Vectors

    @classmethod
    def of(cls, agent_id: UUID) -> "Anchors":
        rows = Intent.objects.live().filter(agent_id=agent_id, embedding_model=MODEL_ID, centroid__isnull=False)
        found = list(rows.order_by("id").values_list("pk", "centroid"))
        centers = np.array([center for _, center in found], dtype=np.float32).reshape(-1, DIMENSIONS)
        return cls(tuple(key for key, _ in found), centers)

    def nearest(self, vector: Vectors) -> UUID | None:
        """Return the intent nearest in meaning; `None` when none comes within `MIN_COSINE`."""
        if not self.ids:
            return None
        cosines = self.centers @ vector
        best = int(cosines.argmax())
        return self.ids[best] if cosines[best] >= MIN_COSINE else None


def define(
    agent: Agent,
    *,
    name: str,
    definition: str,
    examples: Sequence[str],
    by: Actor,
    parent: Intent | None = None,
    level: int = 3,
) -> Intent:
    """Define a want by a sentence and at least three ways of saying it; it is live at once.

    Conversations that no intent holds as well are assigned to it. Raises `BadIntentError`, `NotPermittedError`.
    """
    _authorize(agent, by)
    name, definition, examples = _checked(name, definition, examples)
    intent = Intent(
        agent=agent, name=name, parent=_checked_parent(agent, parent), level=level, slug=_free_slug(agent, name)
    )
    return _anchor(intent, definition, examples, by=by, action="intent.define")


def redefine(
    intent: Intent,
    *,
    by: Actor,
    name: str | None = None,
    definition: str | None = None,
    examples: Sequence[str] | None = None,
) -> Intent:
    """Change how an intent is described; its identity stays and only its center moves."""
    _authorize(intent.agent, by)
    intent.name, definition, examples = _checked(
        intent.name if name is None else name,
        intent.definition if definition is None else definition,
        intent.examples if examples is None else examples,
    )
    intent.is_auto_named = False
    return _anchor(intent, definition, examples, by=by, action="intent.redefine")


def _authorize(agent: Agent, by: Actor) -> None:
    if not by.is_machine:
        require(by, Permission.EDIT_INTENTS, agent.access_scope(), act=f"define intents of {agent.slug!r}")


def _checked(name: str, definition: str, examples: Sequence[str]) -> tuple[str, str, list[str]]:
    clean: Any = clean_json({"name": name, "definition": definition, "examples": list(examples)})
    distinct = list(dict.fromkeys(text.strip() for text in clean["examples"] if isinstance(text, str) and text.strip()))
    name, definition = clean["name"].strip(), clean["definition"].strip()
    if not (1 <= len(name) <= 160):  # the column's length
        raise BadIntentError(f"An intent has a name of 1 to 160 characters, not {len(name)}.")
    if not definition:
        raise BadIntentError("Say in one sentence what such a user wants.")
    if len(distinct) < MIN_EXAMPLES:
        raise BadIntentError(
            f"{len(distinct)} different examples; {MIN_EXAMPLES} are needed to recognize the intent {name!r}. Add ways of saying it."
        )
    return name, definition, distinct


def _checked_parent(agent: Agent, parent: Intent | None) -> Intent | None:
    if parent is not None and parent.agent_id != agent.pk:
        raise BadIntentError(f"Intent {parent.name!r} belongs to another agent and cannot be the parent here.")
    return parent


def _free_slug(agent: Agent, name: str) -> str:
    stem = slugify(name)[:70] or "intent"
    taken = set(Intent.objects.filter(agent=agent, slug__startswith=stem).values_list("slug", flat=True))
    numbered = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
    return next(slug for slug in (stem, *numbered) if slug not in taken)


def _anchor(intent: Intent, definition: str, examples: Sequence[str], *, by: Actor, action: str) -> Intent:
    center = encode([definition, *examples]).mean(axis=0)
    intent.definition, intent.examples = definition, list(examples)
    intent.centroid, intent.embedding_model = center / np.linalg.norm(center), MODEL_ID
    intent.state = Intent.State.LIVE
    with transaction.atomic(), acting(by):
        intent.save()
        record(action, intent, team_id=intent.agent.team_id, facts={"examples": len(examples), "level": intent.level})
        reassign(intent)
        adopt(intent)
    return intent


def reassign(intent: Intent) -> int:
    """Give `intent` the conversations that mean it more than the intent they have; return how many."""
    own = CosineDistance("embedding", intent.centroid)
    theirs = CosineDistance("embedding", F("intent__centroid"))
    rows = Conversation.objects.filter(agent_id=intent.agent_id, embedding_model=MODEL_ID, embedding__isnull=False)
    nearer = (
        rows.exclude(intent_id=intent.pk)
        .annotate(own=own, theirs=theirs)
        .filter(own__lte=1 - MIN_COSINE)
        .filter(Q(intent__isnull=True) | Q(intent__embedding_model=MODEL_ID, theirs__gt=F("own")))
    )
    moved = list(nearer.values_list("pk", "intent_id"))
    Conversation.objects.filter(pk__in=[key for key, _ in moved]).update(intent=intent)
    count_assigned(Counter({intent.pk: len(moved)}))
    count_assigned(Counter({key: -n for key, n in Counter(old for _, old in moved if old).items()}))
    return len(moved)


def count_assigned(changes: Counter[UUID]) -> None:
    """Add to the counters of intents; derived numbers, kept out of the history."""
    for key, number in sorted(changes.items()):
        if number:
            Intent._base_manager.filter(pk=key).update(num_conversations=Greatest(F("num_conversations") + number, 0))
