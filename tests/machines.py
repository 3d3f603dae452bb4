"""Every state machine of the platform with a row to move: what the generated test walks."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.roles import Role, roles_with
from audit.transitions import Edge, Stateful
from episodes.models import Pattern
from evals.models import Case, Run
from harness.models import Agent, Change
from proposals.models import Proposal
from releases.models import Release, ReleaseApproval
from tests.console.world import build_world, make_proposal

__all__ = ["ENDPOINTS", "MACHINES", "Stage", "arguments_for", "holder_of", "put"]

MACHINES: tuple[type[Stateful], ...] = tuple(
    sorted((model for model in apps.get_models() if issubclass(model, Stateful)), key=lambda model: model.__name__)
)
# Where each machine's verbs live in the API.
ENDPOINTS = {
    Case: "cases",
    Change: "changes",
    Pattern: "patterns",
    Proposal: "proposals",
    Release: "releases",
    Run: "runs",
}


class Stage:
    """One team's world, and a row of every machine in it."""

    def __init__(self, agent: Agent, cast: SimpleNamespace) -> None:
        self.agent, self.cast = agent, cast
        self.world = build_world(agent, cast.second_engineer)

    def row(self, model: type[Stateful]) -> Any:
        """Return a row of `model` that no other machine of the world depends on."""
        world = self.world
        if model is Proposal:
            with acting(MACHINE, reason="a proposal to move"):
                made = make_proposal(self.agent, world.episode, author=self.cast.engineer, title="To be moved")
            made.patch = [{"op": "add", "path": "/memory", "value": {"rules": {}}}]
            return made
        if model is Case:  # one that was never played, for those keep their text
            known = Case.objects.get(benchmark__agent=self.agent)
            made = Case(
                benchmark=known.benchmark, name="never played", kind="edge", split="dev", cluster="t2",
                messages=known.messages, expectations=known.expectations,
            )  # fmt: skip
            with acting(MACHINE, reason="a case to move"):
                made.save()
            return made
        if model is Run:
            return Run.objects.get(pk=world.run.pk)
        return model._default_manager.filter(pk__in=_of_agent(model, self.agent)).first()

    def prepare(self, row: Any, edge: Edge) -> None:
        """Make true what the verb demands beyond the state: approvals, a free slot, a baseline that still is stable."""
        if isinstance(row, Release):
            _prepare_release(row, edge)
            ReleaseApproval.objects.get_or_create(
                release=row, approver=self.cast.approver, plan_digest=row.plan_digest,
                defaults={"version_digest": row.version.digest, "expires_at": timezone.now() + timedelta(days=1)},
            )  # fmt: skip
        if isinstance(row, Proposal) and edge.verb in {"begin_validation", "submit", "rebase"}:
            Release._base_manager.filter(agent=row.agent).update(status="withdrawn")
        if isinstance(row, Run):
            Proposal._base_manager.filter(pk=row.proposal_id).update(status="validating")


def _of_agent(model: type[Stateful], agent: Agent) -> Any:
    path = getattr(model, "AGENT_PATH", "agent")
    return model._base_manager.filter(**{path: agent}).values("pk")


def _prepare_release(row: Release, edge: Edge) -> None:
    proposal = row.proposal
    status = "approved" if edge.verb == "start" else "released"
    Proposal._base_manager.filter(pk=proposal.pk).update(status=status, target_intents=[])
    if row.status == Release.Status.PROMOTED or edge.verb == "confirm_rolled_back":
        agent = Agent.objects.get(pk=row.agent_id)
        wanted = row.version if row.status == Release.Status.PROMOTED else row.baseline
        Agent._base_manager.filter(pk=agent.pk).update(stable=wanted)
    row.refresh_from_db()


def put(row: Any, status: str) -> Any:
    """Put a row straight into `status`, with what the database demands of that state."""
    fields: dict[str, Any] = {"status": status}
    if isinstance(row, Proposal):
        fields |= {"run_ref": row.pk, "candidate": row.base if row.candidate_id is None else row.candidate}
    if isinstance(row, Run):
        fields |= {"verdict": "pass" if status == "judged" else ""}
    if isinstance(row, Release):
        weight = {"running": 0.05, "paused": 0.05, "promoting": 0.5, "promoted": 0.95, "inconclusive": 0.5}.get(
            status, 0.0
        )
        step = {"promoted": len(row.plan["steps"]), "promoting": len(row.plan["steps"]) - 1}.get(status, 0)
        now = timezone.now()
        fields |= {"weight": weight, "step": step, "started_at": now, "step_started_at": now, "deadline_at": now}
    type(row)._base_manager.filter(pk=row.pk).update(**fields)
    row.refresh_from_db()
    return row


def arguments_for(edge: Edge, row: Any) -> dict[str, Any]:
    """Return what else the verb takes when the machine calls it."""
    if isinstance(row, Proposal) and edge.verb.startswith("record_"):
        return {"run_ref": row.pk, "summary": {"sentence": "as measured"}, "approvals": 1}
    if isinstance(row, Run) and edge.verb == "judge":
        return {"verdict": "pass", "reading": {"sentence": "as measured"}}
    return {}


def holder_of(cast: SimpleNamespace, edge: Edge) -> Any:
    """Return a person who may walk the edge; `None` where only the machine may."""
    if edge.permission is None:
        return None
    named = {Role.APPROVER: cast.approver, Role.ENGINEER: cast.engineer, Role.RELEASE_MANAGER: cast.release_manager}
    role = roles_with(edge.permission)[0]
    return named.get(role) or getattr(cast, role.value)
