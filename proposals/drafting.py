"""Writing a proposal: what it changes, what it rests on, and the laws that may refuse it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.record import record
from episodes.models import Episode, Pattern
from harness.canonical import digest_of
from harness.limits import Refusal, prompt_characters, refusals
from harness.lines import size
from harness.models import Agent, HarnessVersion
from harness.patches import Conflict, apply, diff, layer_of, rebase
from proposals.exceptions import BaseMovedError, EvidenceMissingError, ProposalRefusedError
from proposals.lineage import MAX_RETRIES, last_attempt, num_retries
from proposals.models import Evidence, Proposal, Strategy

__all__ = [
    "Quote", "Sketch", "amended", "candidate_document", "draft", "edit_of_layer", "laws_broken", "rebased",
    "refuse_unlawful",
]  # fmt: skip


@dataclass(frozen=True)
class Quote:
    """An episode a proposal rests on, and words found in it."""

    episode: Episode
    text: str = ""


@dataclass(frozen=True)
class Sketch:
    """Everything a strategy or a person says about a change before it becomes a row."""

    title: str
    claim: str
    patch: list[dict[str, Any]]
    rationale: str
    evidence: Sequence[Quote]
    target_intents: Sequence[str] = ()
    predicted_effect: dict[str, float] = field(default_factory=dict)
    drafted_cases: Sequence[dict[str, Any]] = ()


@transaction.atomic
def draft(
    agent: Agent, sketch: Sketch, *, by: Actor, pattern: Pattern | None = None, strategy: Strategy | None = None,
    source: Literal["person", "rules", "model"] = "person", retry_of: Proposal | None = None,
) -> Proposal:  # fmt: skip
    """Make a draft on the agent's stable version. The laws are applied when it is submitted.

    A person becomes its first author; a machine-written draft has none until a person amends it. What comes after a
    failed attempt at the same pattern is a retry of it, whether its author says so or not.
    """
    if not by.is_machine:
        require(by, Permission.WRITE_PROPOSAL, agent.access_scope(), act=f"write a proposal for {agent.slug!r}")
    base = agent.stable
    if base is None:
        raise BaseMovedError(f"Agent {agent.slug!r} has no stable version yet: bootstrap it first.")
    pattern = pattern or (retry_of.pattern if retry_of else None)
    retry_of = retry_of or (last_attempt(pattern) if pattern else None)
    document = apply(base.document, sketch.patch)
    with acting(by, reason=sketch.rationale):
        proposal = Proposal(
            agent=agent, title=sketch.title, base=base, layer=layer_of(sketch.patch), claim=sketch.claim,
            patch=list(sketch.patch), size=size(base.document, document), candidate_digest=digest_of(document),
            rationale=sketch.rationale, predicted_effect=dict(sketch.predicted_effect),
            drafted_cases=list(sketch.drafted_cases), target_intents=sorted(set(sketch.target_intents)),
            pattern=pattern, strategy=strategy, source=source, retry_of=retry_of,
        )  # fmt: skip
        proposal.save(force_insert=True)
        if by.user_id is not None:
            proposal.authors.create(user_id=by.user_id)
        _keep_evidence(proposal, sketch.evidence)
        record("proposal.draft", proposal, digest=proposal.candidate_digest, team_id=agent.team_id)
    return proposal


def _keep_evidence(proposal: Proposal, quotes: Iterable[Quote]) -> None:
    seen: dict[object, Evidence] = {}
    for quote in quotes:
        if quote.episode.agent_id != proposal.agent_id:
            raise EvidenceMissingError(f"Episode {quote.episode} belongs to another agent and proves nothing here.")
        if quote.text and quote.text not in text_of(quote.episode):
            raise EvidenceMissingError(f"Episode {quote.episode} does not say {quote.text[:80]!r}: quote it exactly.")
        seen.setdefault(quote.episode.pk, Evidence(proposal=proposal, episode=quote.episode, quote=quote.text))
    Evidence.objects.bulk_create(seen.values())


def text_of(episode: Episode) -> str:
    """Return all words said in an episode, where quotes are looked up."""
    heard = episode.input.get("messages") if isinstance(episode.input, dict) else None
    messages = heard if isinstance(heard, list) else []
    said = [str(message.get("content", "")) for message in messages if isinstance(message, dict)]
    # A message of several parts is quoted as it is read: joined.
    return "\n".join([*said, *episode.user_texts(), episode.output_text])


def candidate_document(proposal: Proposal) -> dict[str, Any]:
    """Return the base document with the patch applied."""
    return apply(proposal.base.document, proposal.patch)


def edit_of_layer(base: HarnessVersion, layer: str, value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the patch that turns `layer` of the base into `value`: what a form's edit amounts to."""
    return [dict(operation) for operation in diff(base.document, {**base.document, layer: value})]


def laws_broken(proposal: Proposal) -> list[Refusal]:
    """Return every law of the small change that the proposal breaks, each with its sentence."""
    limits = proposal.agent.current_policy().patch
    author_kind: Literal["person", "machine"] = "machine" if proposal.is_machine_written else "person"
    found = refusals(
        proposal.base.document, proposal.patch, proposal.claim, author_kind, limits,
        prompt_chars_week_ago=_prompt_week_ago(proposal) if proposal.layer == "prompt" else None,
    )  # fmt: skip
    found += _evidence_refusals(proposal)
    if proposal.base_id != proposal.agent.stable_id:
        found.append(
            Refusal("base_moved", f"It is based on {proposal.base}; {proposal.agent.stable} is stable. Rebase it.")
        )
    retries = num_retries(proposal)
    if retries > MAX_RETRIES:
        found.append(Refusal("too_many_retries", f"It is retry {retries} of the same; {MAX_RETRIES} are allowed."))
    return found


def _prompt_week_ago(proposal: Proposal) -> int:
    from datetime import timedelta  # noqa: PLC0415  # one use

    from django.utils import timezone  # noqa: PLC0415  # one use

    line = HarnessVersion.objects.filter(agent_id=proposal.agent_id, created_at__lte=timezone.now() - timedelta(days=7))
    oldest = line.order_by("-number").first() or proposal.base
    return prompt_characters(oldest.document)


def _evidence_refusals(proposal: Proposal) -> list[Refusal]:
    evidence = proposal.evidence.select_related("episode__conversation")
    if not evidence:
        return [Refusal("no_evidence", "It names no episode. Name at least one that shows why this change is needed.")]
    if proposal.is_machine_written and any(row.episode.conversation.split != "dev" for row in evidence):
        return [Refusal("read_too_much", "A drafter may read only the dev split; this evidence lies outside of it.")]
    return []


def refuse_unlawful(proposal: Proposal) -> None:
    """Raise `ProposalRefusedError` with every broken law; return when there is none."""
    broken = laws_broken(proposal)
    if broken:
        raise ProposalRefusedError(f"{proposal} cannot be submitted. " + " ".join(law.sentence for law in broken))


def rebased(proposal: Proposal, stable: HarnessVersion | None) -> dict[str, Any]:
    """Return the fields of the proposal moved onto `stable`; raise `BaseMovedError` where the patch conflicts."""
    if stable is None:
        raise BaseMovedError(f"Agent {proposal.agent.slug!r} has no stable version.")
    if stable.pk == proposal.base_id:
        return {}
    moved = rebase(proposal.patch, old_base=proposal.base.document, new_base=stable.document)
    if isinstance(moved, Conflict):
        raise BaseMovedError(f"{proposal} does not fit {stable}: {moved.sentence}")
    document = apply(stable.document, moved)
    return {
        "base": stable,
        "patch": [dict(operation) for operation in moved],
        "size": size(stable.document, document),
        "candidate_digest": digest_of(document),
        "candidate": None,
    }


AMENDABLE = ("title", "claim", "rationale", "patch", "target_intents", "predicted_effect")


def amended(proposal: Proposal, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the fields an amendment sets; only drafts are amended, so that nothing judged ever changes."""
    if proposal.status != Proposal.Status.DRAFT:
        raise ProposalRefusedError(
            f"{proposal} is {proposal.status!r}: only drafts are amended. Withdraw it and draft anew."
        )
    unknown = sorted(set(changes) - set(AMENDABLE))
    if unknown:
        raise ProposalRefusedError(f"An amendment cannot set {unknown!r}; it can set {', '.join(AMENDABLE)}.")
    fields = dict(changes)
    if "patch" in changes:
        document = apply(proposal.base.document, changes["patch"])
        fields |= {
            "layer": layer_of(changes["patch"]),
            "size": size(proposal.base.document, document),
            "candidate_digest": digest_of(document),
        }
    return fields
