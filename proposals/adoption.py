"""A person accepts the harness that traces show: as the agent's first document, or as proposals for the next ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.record import record
from episodes.adopting import AdoptionDraft, draft_from_traces
from episodes.exceptions import AdoptionMovedError, NothingToAdoptError
from episodes.models import Episode
from episodes.otlp.choosing import KEEP
from harness.canonical import digest_of
from harness.models import Agent, HarnessVersion
from proposals.drafting import Quote, Sketch, draft, edit_of_layer
from proposals.exceptions import EvidenceMissingError
from proposals.models import Proposal

__all__ = ["Acceptance", "accept_adopted", "permission_to_accept"]

_MAX_EVIDENCE = 10


@dataclass
class Acceptance:
    """What became of an adopted document: the agent's first version, or one draft for each layer it changes."""

    version: HarnessVersion | None = None
    proposals: list[Proposal] = field(default_factory=list)


def permission_to_accept(agent: Agent) -> Permission:
    """Return what accepting needs: a first document is given by who manages the agent, a later one is proposed."""
    return Permission.MANAGE_AGENT if agent.stable_id is None else Permission.WRITE_PROPOSAL


@transaction.atomic
def accept_adopted(
    agent: Agent, *, choices: Mapping[str, str], digest: str, base: str, by: Actor, reason: str, claim: str = "fixes"
) -> Acceptance:
    """Take over exactly the document the person read: `digest` names it, `base` the stable version it was put onto.

    An agent without a stable version is bootstrapped with it. For any other each changed layer becomes a draft of the
    person's, because only judged and approved proposals change what is served; the laws of the small change are asked
    when it is submitted. Raises `AdoptionMovedError` when traces or stable say otherwise by now.
    """
    agent.refresh_from_db(from_queryset=Agent.objects.locked())
    require(
        by, permission_to_accept(agent), agent.access_scope(), act=f"adopt a harness for {agent.slug!r} from traces"
    )
    adopted = draft_from_traces(agent, choices)
    _refuse_moved(agent, adopted, digest=digest, base=base)
    if not adopted.changed_layers:
        raise NothingToAdoptError(f"What was chosen is exactly what {adopted.base} says; there is nothing to adopt.")
    with acting(by, reason=reason):
        if adopted.base is None:
            accepted = Acceptance(version=agent.bootstrap(adopted.document, by=by, reason=reason))
        else:
            accepted = Acceptance(proposals=_propose(agent, adopted, adopted.base, claim=claim, by=by, reason=reason))
        record(
            "agent.adopt", agent, digest=adopted.digest, team_id=agent.team_id,
            facts={
                "traces": len(adopted.trace_ids), "spans": adopted.num_spans, "base": adopted.base_digest,
                "chosen": {choice.layer: choice.chosen.key for choice in adopted.choices},
                "version": accepted.version.number if accepted.version else None,
                "proposals": [str(proposal.pk) for proposal in accepted.proposals],
            },
        )  # fmt: skip
    return accepted


def _refuse_moved(agent: Agent, adopted: AdoptionDraft, *, digest: str, base: str) -> None:
    if adopted.base_digest != base:
        now = f"serves {adopted.base}" if adopted.base else "serves no version"
        raise AdoptionMovedError(
            f"Agent {agent.slug!r} {now} by now, which is not what the draft was put onto. Read the draft again."
        )
    if adopted.digest != digest:
        raise AdoptionMovedError(
            f"The traces of agent {agent.slug!r} give {adopted.digest[:12]}… by now, not {digest[:12]}…: newer ones "
            "have come. Read the draft again and accept what it shows then."
        )


def _propose(
    agent: Agent, adopted: AdoptionDraft, base: HarnessVersion, *, claim: str, by: Actor, reason: str
) -> list[Proposal]:
    evidence = _evidence(agent, adopted)
    written, known = [], []
    for layer in adopted.changed_layers:
        patch = edit_of_layer(base, layer, adopted.document[layer])
        digest = digest_of({**base.document, layer: adopted.document[layer]})
        earlier = Proposal.objects.filter(agent=agent, base=base, candidate_digest=digest).pending().first()
        if earlier is not None:
            known.append(earlier)
            continue
        seen = next(choice.chosen for choice in adopted.choices if choice.layer == layer and choice.chosen.key != KEEP)
        how = f"{seen.label}, {seen.count} runs" if seen.count is not None else seen.label
        rationale = f"{reason}\n\nRead off the newest {len(adopted.trace_ids)} traces ({how})."
        sketch = Sketch(f"Adopt {layer} from traces", claim, patch, rationale, [Quote(episode) for episode in evidence])
        written.append(draft(agent, sketch, by=by))
    if not written:
        raise NothingToAdoptError(f"Exactly this is proposed already: {'; '.join(map(str, known))}. Go on with that.")
    return written


def _evidence(agent: Agent, adopted: AdoptionDraft) -> list[Episode]:
    """Return episodes of the traces, those that drafters may read before others."""
    rows = Episode.objects.filter(agent=agent, external_id__in=adopted.trace_ids).order_by("-pk")
    found = list(rows.readable_by_proposer()[:_MAX_EVIDENCE]) or list(rows[:_MAX_EVIDENCE])
    if not found:
        raise EvidenceMissingError(
            "None of these traces has become an episode yet, and a proposal rests on episodes. Wait until the first has, "
            "then accept again."
        )
    return found
