"""Rollouts to plan, to watch and to stop, and each user's own layer."""

import math
from typing import Any

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest
from pydantic import BaseModel, Field
from unfold.decorators import display

from accounts.access import require
from accounts.acting import Actor
from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, GovernedAdmin, StatefulAdmin, VisibleRelatedFilter, person
from audit.drawing import curve, level
from audit.facts import FactAdmin, choices
from harness.lines import readable_diff
from releases.bucketing import Arm
from releases.forms import ReleaseForm, UserStateForm
from releases.guard.tick import GuardStatus
from releases.models import Exposure, GuardTick, Release, ReleaseApproval, UserState
from releases.planning import draft_release

__all__ = ["ExposureAdmin", "GuardTickAdmin", "ReleaseAdmin", "ReleaseApprovalAdmin", "UserStateAdmin"]

_TICKS = 240
_WIDTH, _HEIGHT = 600, 120


class PlanDigest(BaseModel):
    """Which plan is approved: the one the approver read."""

    plan_digest: str = Field(max_length=64, description="The plan you read; another plan needs another approval.")


def _approve(row: Release, *, by: Actor, reason: str, plan_digest: str) -> str:
    row.approve(by=by, reason=reason, plan_digest=plan_digest)
    return "Your approval of exactly this plan is written down."


def _advance(row: Release, *, by: Actor, reason: str) -> str:
    row.advance(by=by, reason=reason)
    return f"Step {row.step + 1}: {100 * row.weight:.0f} % of users."


@admin.register(Release)
class ReleaseAdmin(StatefulAdmin):
    list_display = ("__str__", "state", "agent", "percent", "guard_label", "effect_label", "owner", "created_at")
    list_filter = (("agent", VisibleRelatedFilter), "status", "effect", "guard_status")
    list_select_related = ("agent", "owner", "version__agent")
    ordering = ("-id",)
    fieldsets = (
        ("Details", {"fields": ("agent", "proposal", "baseline", "version", "run_ref", "retry_of", "owner", "reason")}),
        ("The plan as approved", {"fields": ("plan", "plan_digest"), "classes": ("collapse",)}),
        ("Times", {"fields": ("created_at", "started_at", "step_started_at", "deadline_at", "promoted_at", "ended_at",
                              "aftermath_closed_at"), "classes": ("collapse",)}),
    )  # fmt: skip
    writing_form = ReleaseForm
    writing_help = "A release takes an approved proposal to everybody, step by step, watched and reversible."
    reading_template = "releases/release.html"
    acts = (
        Act("approve", "Approve", Permission.APPROVE_RELEASE, _approve, form=PlanDigest,
            offered=lambda row: row.status == Release.Status.AWAITING_APPROVAL,
            initial=lambda row: {"plan_digest": row.plan_digest}),
        Act("advance", "Advance to the next step", Permission.RUN_RELEASE, _advance,
            offered=lambda row: row.status == Release.Status.RUNNING),
    )  # fmt: skip

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Release:
        return draft_release(by=person(request), **data)

    def reading(self, request: HttpRequest, row: Release) -> dict[str, Any]:
        arms = list(row.exposures.values("stage", "arm").annotate(users=Count("subject")).order_by("stage", "arm"))
        return {
            "lines": readable_diff(row.baseline.document, row.version.document), "steps": row.plan.get("steps", []),
            "plan": row.plan, "arms": arms, "approvals": row.approvals.select_related("approver"),
            "approved": row.num_approvals(),
            "chart": chart_of(row), "is_owner": row.owner_id == request.user.pk,
        }  # fmt: skip

    @display(description="Weight", ordering="weight")
    def percent(self, row: Release) -> str:
        return f"{100 * row.weight:.0f} %"

    @display(
        description="Guard", ordering="guard_status", label={**STATUS_COLORS, "alarm": "danger", "pause": "warning"}
    )
    def guard_label(self, row: Release) -> tuple[str, str] | str:
        return (row.guard_status, row.guard_status.capitalize()) if row.guard_status else ""

    @display(description="Effect", ordering="effect", label=STATUS_COLORS)
    def effect_label(self, row: Release) -> tuple[str, str] | str:
        return (row.effect, row.get_effect_display()) if row.effect else ""


def chart_of(release: Release) -> dict[str, Any] | None:
    """Return the release's course: the canary's weight and the guard's evidence (log10 of its e-value), tick by tick."""
    ticks = list(release.ticks.order_by("-id").only("at", "weight", "reading", "status", "sentence")[:_TICKS])[::-1]
    if not ticks:
        return None
    overall = [(tick.reading.get("evidence") or tick.reading).get("overall") or {} for tick in ticks]
    evidence = [math.log10(max(1e-2, float(one.get("e_value") or 1.0))) for one in overall]
    alarm_at = next((float(one["alarm_at"]) for one in reversed(overall) if one.get("alarm_at")), 20.0)
    top = max(2.0, math.log10(alarm_at) * 1.15, *evidence)
    space = {"width": _WIDTH, "height": _HEIGHT}
    return {
        "weights": curve([tick.weight for tick in ticks], low=0, high=1, **space),
        "evidence": curve(evidence, low=-1, high=top, **space),
        "limit": level(math.log10(alarm_at), low=-1, high=top, height=_HEIGHT), "alarm_at": round(alarm_at),
        "width": _WIDTH, "height": _HEIGHT, "first": ticks[0].at, "last": ticks[-1].at, "latest": ticks[-1],
    }  # fmt: skip


@admin.register(ReleaseApproval)
class ReleaseApprovalAdmin(GovernedAdmin):
    list_display = ("release", "approver", "is_simulated", "created_at", "expires_at")
    list_filter = ("is_simulated",)
    list_select_related = ("release__version__agent", "approver")
    ordering = ("-id",)


@admin.register(Exposure)
class ExposureAdmin(FactAdmin):
    list_display = ("subject", "release", "stage", "arm", "weight", "served_at")
    list_filter = (choices("arm", "arm", [(arm.value, arm.value.capitalize()) for arm in Arm]),)
    list_select_related = ("release__version__agent",)


@admin.register(GuardTick)
class GuardTickAdmin(FactAdmin):
    list_display = ("at", "status", "release", "stage", "weight", "sentence")
    list_filter = (choices("status", "status", [(one.value, one.value.capitalize()) for one in GuardStatus]),)
    list_select_related = ("release__version__agent",)


class Overlay(BaseModel):
    """A user's layer as it shall be."""

    overlay: dict[str, Any] = Field(description="memory.user.* and prompt.preferences.* only.")


def _write(row: UserState, *, by: Actor, reason: str, overlay: dict[str, Any]) -> str:
    require(by, Permission.EDIT_USER_STATE, row.agent.access_scope(), act=f"write the state of {row}")
    UserState.write(agent=row.agent, subject=row.subject, overlay=overlay, by=by, reason=reason, if_match=row.etag)
    return "Written; it is served from the next fetch on."


def _erase(row: UserState, *, by: Actor, reason: str) -> str:
    require(by, Permission.EDIT_USER_STATE, row.agent.access_scope(), act=f"erase the state of {row}")
    row.erase(by=by, reason=reason)
    return "Erased."


@admin.register(UserState)
class UserStateAdmin(GovernedAdmin):
    list_display = ("subject", "agent", "revision", "updated_at")
    list_filter = (("agent", VisibleRelatedFilter),)
    search_fields = ("=subject",)
    list_select_related = ("agent",)
    fields = ("agent", "subject", "overlay", "revision", "updated_at")
    writing_form = UserStateForm
    writing_help = "What this one user's harness says beyond the released version."
    acts = (
        Act("write", "Write anew", Permission.EDIT_USER_STATE, _write, form=Overlay,
            initial=lambda row: {"overlay": row.overlay}),
        Act("erase", "Erase", Permission.EDIT_USER_STATE, _erase, danger=True),
    )  # fmt: skip

    def write(self, request: HttpRequest, data: dict[str, Any]) -> UserState:
        agent = data["agent"]
        require(
            person(request), Permission.EDIT_USER_STATE, agent.access_scope(), act=f"write a state of {agent.slug!r}"
        )
        return UserState.write(by=person(request), if_match="", **data)
