"""Proposals: to write, to read with everything they rest on, and to decide."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.decorators import display

from accounts.access import can
from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, GovernedAdmin, StatefulAdmin, VisibleRelatedFilter, person
from harness.documents import LAYERS
from harness.limits import BUDGETS, refusals
from harness.lines import readable_diff, sizes
from harness.models import Agent
from harness.patches import apply
from proposals.drafting import Sketch, candidate_document, draft, laws_broken
from proposals.forms import Amendment, ProposalForm, amend_layer, as_amendment
from proposals.models import Author, Evidence, Proposal, Review, Strategy

__all__ = ["AuthorAdmin", "EvidenceAdmin", "ProposalAdmin", "ReviewAdmin", "StrategyAdmin"]


def budget_of(agent: Agent, base: Any, target: Any) -> list[dict[str, Any]]:
    """Return each part the change touches, with its lines and what the agent's policy allows there."""
    allowed = BUDGETS | agent.current_policy().patch.lines
    return [
        {"part": part, "lines": lines, "allowed": allowed.get(part, 0), "is_over": lines > allowed.get(part, 0)}
        for part, lines in sorted(sizes(base, target).items())
    ]


@admin.register(Proposal)
class ProposalAdmin(StatefulAdmin):
    list_display = ("title", "state", "agent", "layer", "claim", "size", "verdict_label", "written_by", "created_at")
    list_filter = (("agent", VisibleRelatedFilter), "status", "layer", "claim", "source")
    search_fields = ("title", "=candidate_digest")
    list_select_related = ("agent", "strategy")
    ordering = ("-id",)
    fieldsets = (
        ("Details", {"fields": ("agent", "base", "candidate", "candidate_digest", "pattern", "strategy", "retry_of")}),
        ("Operations", {"fields": ("patch", "predicted_effect", "drafted_cases", "effect"), "classes": ("collapse",)}),
        ("Times", {"fields": ("created_at", "submitted_at", "judged_at", "closed_at"), "classes": ("collapse",)}),
    )
    writing_form = ProposalForm
    writing_template = "proposals/write.html"
    reading_template = "proposals/proposal.html"
    acts = (
        Act("amend", "Amend", Permission.WRITE_PROPOSAL, amend_layer, form=Amendment, initial=as_amendment,
            offered=lambda row: row.status == Proposal.Status.DRAFT),
    )  # fmt: skip

    # writing

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        actor = person(request)
        if (
            request.method == "GET"
            and not {"agent", "layer"} <= request.GET.keys()
            and self.has_add_permission(request)
        ):
            served = Agent.objects.visible_to(actor).filter(stable__isnull=False)
            context = {
                "title": "Write a proposal",
                "agents": served,
                "layers": [name for name in LAYERS if name != "evals"],
            }
            return TemplateResponse(request, "proposals/choose.html", self._around(request) | context)
        chosen = request.POST if request.method == "POST" else request.GET
        agent = Agent.objects.visible_to(actor).select_related("stable").filter(slug=chosen.get("agent", "")).first()
        about = {"agent": agent, "layer": chosen.get("layer", ""), "title": "Write a proposal"}
        return super().add_view(request, form_url, about | (extra_context or {}))

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Proposal:
        sketch = Sketch(
            title=data["title"], claim=data["claim"], patch=data["patch"], rationale=data["rationale"],
            evidence=data["evidence"], target_intents=data["target_intents"],
            predicted_effect={} if data["gain"] is None else {"gain": data["gain"]},
        )  # fmt: skip
        return draft(data["agent"], sketch, by=person(request), pattern=data["pattern"], retry_of=data["retry_of"])

    def preview(self, request: HttpRequest, data: dict[str, Any]) -> dict[str, Any]:
        agent, base = data["agent"], data["agent"].stable.document
        target = apply(base, data["patch"])
        limits = agent.current_policy().patch
        return {
            "lines": readable_diff(base, target), "budget": budget_of(agent, base, target),
            "laws": refusals(base, data["patch"], data["claim"], "person", limits),
        }  # fmt: skip

    # reading

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(num_authors=Count("authors"))
        return rows

    def reading(self, request: HttpRequest, row: Proposal) -> dict[str, Any]:
        base, target = row.base.document, candidate_document(row)
        authors = [author.user for author in row.authors.select_related("user")]
        return {
            "lines": readable_diff(base, target), "budget": budget_of(row.agent, base, target), "authors": authors,
            "evidence": row.evidence.select_related("episode__conversation")[:50],
            "gates": gates_of(row.verdict_summary), "approvals": row.num_approvals(),
            "reviews": row.reviews.select_related("reviewer"), "releases": row.run_ref and row.status != "validated",
            "laws": laws_broken(row) if row.status == Proposal.Status.DRAFT else [],
            "is_author": request.user in authors, "runs_filter": f"proposal__id__exact={row.pk}",
            "may_retry": row.status == Proposal.Status.FAILED
            and can(person(request), Permission.WRITE_PROPOSAL, row.access_scope()),
        }  # fmt: skip

    @display(description="Verdict", ordering="verdict", label=STATUS_COLORS)
    def verdict_label(self, row: Proposal) -> tuple[str, str] | str:
        return (row.verdict, row.verdict.capitalize()) if row.verdict else ""

    @display(description="Written by")
    def written_by(self, row: Any) -> str:
        if row.num_authors:
            return "people" if row.num_authors > 1 else "a person"
        return f"{row.strategy} ({row.source})" if row.strategy else row.source


def gates_of(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a verdict's gates in the order they were read, each with its decision, color and sentence."""
    colors = {"pass": "good", "fail": "bad", "hold": "wait"}
    return [
        {"name": name, "color": colors.get(gate.get("verdict", ""), ""), **gate}
        for name, gate in (summary.get("gates") or {}).items()
    ]


@admin.register(Review)
class ReviewAdmin(GovernedAdmin):
    list_display = ("proposal", "decision", "reviewer", "is_simulated", "created_at")
    list_filter = ("decision", "is_simulated")
    list_select_related = ("proposal", "reviewer")
    ordering = ("-id",)


@admin.register(Evidence)
class EvidenceAdmin(GovernedAdmin):
    list_display = ("proposal", "episode", "quote")
    list_select_related = ("proposal", "episode")
    ordering = ("-id",)


@admin.register(Author)
class AuthorAdmin(GovernedAdmin):
    list_display = ("proposal", "user", "since")
    list_select_related = ("proposal", "user")
    ordering = ("-id",)


@admin.register(Strategy)
class StrategyAdmin(GovernedAdmin):
    list_display = ("name", "layer", "is_enabled", "drafted", "passed", "released", "verified")
    fields = ("name", "slug", "layer", "description", "is_enabled")
    reading_template = "proposals/strategy.html"
    acts = (
        Act("enable", "Enable", Permission.MANAGE_AGENT, Strategy.enable, offered=lambda row: not row.is_enabled),
        Act("disable", "Disable", Permission.MANAGE_AGENT, Strategy.disable, danger=True,
            offered=lambda row: row.is_enabled),
    )  # fmt: skip

    RELEASED = ("released", "verified", "not_fixed", "confounded", "rolled_back")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Count each strategy's record over the proposals its reader may see."""
        mine = Q(proposals__agent__in=Agent.objects.visible_to(person(request)))
        rows: QuerySet[Any] = super().get_queryset(request).annotate(
            num_written=Count("proposals", filter=mine),
            num_passed=Count("proposals", filter=mine & Q(proposals__verdict="pass")),
            num_released=Count("proposals", filter=mine & Q(proposals__status__in=self.RELEASED)),
            num_verified=Count("proposals", filter=mine & Q(proposals__status="verified")),
        )  # fmt: skip
        return rows

    def acts_for(self, request: HttpRequest, row: Strategy) -> list[Act]:
        """A strategy is the platform's, so that no single team's roles govern it."""
        return [act for act in self.acts if act.offered(row) and row.is_switched_by(person(request))]

    def reading(self, request: HttpRequest, row: Strategy) -> dict[str, Any]:
        return {
            "proposals": Proposal.objects.visible_to(person(request)).filter(strategy=row).select_related("agent")[:30]
        }

    @display(description="Written", ordering="num_written")
    def drafted(self, row: Any) -> int:
        return int(row.num_written)

    @display(description="Passed", ordering="num_passed")
    def passed(self, row: Any) -> int:
        return int(row.num_passed)

    @display(description="Released", ordering="num_released")
    def released(self, row: Any) -> int:
        return int(row.num_released)

    @display(description="Verified", ordering="num_verified")
    def verified(self, row: Any) -> int:
        return int(row.num_verified)
