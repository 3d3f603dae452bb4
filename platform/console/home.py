"""The home page: what waits for this person, and how their agents are doing."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.acting import Actor
from accounts.roles import Permission
from audit.chain import status as chain_status
from audit.desk import person, standing
from audit.drawing import Bar, bars
from episodes.models import Episode, Pattern
from evals.models import Run
from harness.models import Agent, Change
from proposals.models import Proposal
from releases.models import Release

__all__ = ["InboxLine", "dashboard"]

_DAYS = 14
_ROWS = 6
_CHART = {"width": 560.0, "height": 110.0}


@dataclass(frozen=True)
class InboxLine:
    """Something that waits for this person: how many, what, and the list that shows them."""

    number: int
    words: str
    link: str


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the context of the admin's index: everything through `visible_to`."""
    actor, may = person(request), standing(request)
    if Permission.VIEW not in may:
        return context | {"is_member": False}
    days = _days(actor)
    return context | {
        "is_member": True,
        "inbox": [line for line in _inbox(actor, may) if line.number],
        "agents": Agent.objects.visible_to(actor).select_related("stable", "team")[:20],
        "patterns": Pattern.objects.visible_to(actor)
        .open()
        .select_related("agent", "intent")
        .order_by("-num_subjects")[:_ROWS],
        "waiting": Proposal.objects.visible_to(actor).awaiting_review().select_related("agent")[:_ROWS],
        "live": Release.objects.visible_to(actor).live().select_related("agent", "version__agent"),
        "verdicts": Run.objects.visible_to(actor)
        .judged()
        .select_related("proposal", "agent")
        .order_by("-finished_at")[:_ROWS],
        "days": days,
        "num_episodes": sum(day["number"] for day in days),
        "resolved_share": _share(days),
        "columns": _columns(days),
        "chart": _CHART,
        "chain": chain_status(),
        "may_audit": Permission.READ_AUDIT in standing(request),
    }


def _inbox(actor: Actor, may: frozenset[Permission]) -> list[InboxLine]:
    proposals, releases = Proposal.objects.visible_to(actor), Release.objects.visible_to(actor)
    lines = []
    if Permission.APPROVE_PROPOSAL in may:
        mine = proposals.awaiting_review().exclude(authors__user_id=actor.user_id)
        lines.append(_line(mine.count(), "to review", "proposals_proposal", "status__exact=validated", "proposal"))
    if Permission.APPROVE_RELEASE in may:
        waiting = releases.filter(status=Release.Status.AWAITING_APPROVAL).exclude(approvals__approver_id=actor.user_id)
        lines.append(
            _line(waiting.count(), "to approve", "releases_release", "status__exact=awaiting_approval", "release")
        )
    if Permission.APPROVE_CHANGE in may:
        open_ = (
            Change.objects.visible_to(actor).filter(status=Change.Status.PROPOSED).exclude(proposed_by_id=actor.user_id)
        )
        lines.append(_line(open_.count(), "to decide", "harness_change", "status__exact=proposed", "change"))
    if Permission.PLAN_RELEASE in may:
        approved = proposals.filter(status=Proposal.Status.APPROVED).count()
        lines.append(_line(approved, "to release", "proposals_proposal", "status__exact=approved", "approved proposal"))
    if Permission.RUN_RELEASE in may:
        stopped = releases.filter(status__in=("paused", "inconclusive")).count()
        lines.append(
            _line(stopped, "to decide on", "releases_release", "status__in=paused,inconclusive", "stopped release")
        )
    if Permission.WRITE_PROPOSAL in may:
        drafts = proposals.filter(status=Proposal.Status.DRAFT, authors__user_id=actor.user_id).count()
        lines.append(_line(drafts, "to finish", "proposals_proposal", "status__exact=draft", "draft of yours"))
    if Permission.START_RUN in may:
        stopped = Run.objects.visible_to(actor).filter(status=Run.Status.STOPPED).count()
        lines.append(_line(stopped, "to resume or cancel", "evals_run", "status__exact=stopped", "stopped run"))
        held = proposals.filter(status=Proposal.Status.HELD).count()
        lines.append(_line(held, "on hold", "proposals_proposal", "status__exact=held", "proposal"))
    return lines


def _line(number: int, end: str, model: str, query: str, noun: str) -> InboxLine:
    plural = noun if number == 1 else noun.replace("draft of", "drafts of") if " of " in noun else f"{noun}s"
    return InboxLine(number, f"{plural} {end}", f"{reverse(f'admin:{model}_changelist')}?{query}")


def _days(actor: Actor) -> list[dict[str, Any]]:
    """Return episodes and resolved ones of each of the last days, days without any included."""
    first = (timezone.now() - timedelta(days=_DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = (
        Episode.objects.visible_to(actor).filter(started_at__gte=first).annotate(day=TruncDate("started_at"))
        .values("day").order_by("day")
        .annotate(number=Count("id"), resolved=Count("id", filter=Q(conversation__resolution="resolved")))
    )  # fmt: skip
    found = {row["day"]: row for row in rows}
    dates = [first.date() + timedelta(days=index) for index in range(_DAYS)]
    return [found.get(date, {"day": date, "number": 0, "resolved": 0}) for date in dates]


def _share(days: list[dict[str, Any]]) -> int | None:
    total = sum(day["number"] for day in days)
    return round(100 * sum(day["resolved"] for day in days) / total) if total else None


def _columns(days: list[dict[str, Any]]) -> list[tuple[Bar, dict[str, Any]]]:
    drawn = bars([(f"{day['day']:%d %b}", day["number"], day["resolved"]) for day in days], **_CHART)
    return list(zip(drawn, days, strict=True))
