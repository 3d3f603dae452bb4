"""Agents, their versions, what governs them, and the keys to them."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.module_loading import import_string
from unfold.decorators import display

from accounts.access import can
from accounts.acting import Actor
from accounts.models import User
from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, GovernedAdmin, StatefulAdmin, VisibleRelatedFilter, person
from harness.forms import EMPTY_DOCUMENT, AgentForm, ApiKeyForm, ChangeForm, StartingDocument
from harness.lines import pretty, readable_diff
from harness.models import Agent, ApiKey, Change, HarnessVersion, ObjectiveVersion, PolicyVersion, in_force
from harness.registration import add_agent

__all__ = [
    "AgentAdmin",
    "ApiKeyAdmin",
    "ChangeAdmin",
    "HarnessVersionAdmin",
    "ObjectiveVersionAdmin",
    "PolicyVersionAdmin",
]

BY_AGENT = (("agent", VisibleRelatedFilter),)


def _freeze(row: Agent, *, by: Actor, reason: str) -> str:
    row.freeze(by=by, reason=reason)
    return f"{row} is frozen: nothing new is released until somebody lifts it. Rollback stays possible."


def _unfreeze(row: Agent, *, by: Actor, reason: str) -> str:
    row.unfreeze(by=by, reason=reason)
    return f"{row} is no longer frozen."


def _bootstrap(row: Agent, *, by: Actor, reason: str, document: dict[str, Any]) -> str:
    return f"{row.bootstrap(document, by=by, reason=reason)} is served from now on."


@admin.register(Agent)
class AgentAdmin(GovernedAdmin):
    list_display = ("slug", "name", "team", "owner", "level", "stable_number", "state_label")
    list_filter = (("team", VisibleRelatedFilter), "level")
    search_fields = ("slug", "name")
    list_select_related = ("team", "owner", "stable")
    fieldsets = (
        (None, {"fields": ("name", "slug", "purpose", "runner", "endpoint")}),
        ("Who answers for it", {"fields": ("team", "owner", "level", "created_at")}),
    )
    editable = ("name", "purpose", "runner", "endpoint", "owner")
    writing_form = AgentForm
    writing_help = "An agent starts with one document; every later version comes from a judged proposal."
    reading_template = "harness/agent.html"
    acts = (
        Act("bootstrap", "Give it its first document", Permission.MANAGE_AGENT, _bootstrap, form=StartingDocument,
            offered=lambda row: row.stable_id is None, initial=lambda _: {"document": EMPTY_DOCUMENT}),
        Act("freeze", "Freeze", Permission.STOP_RELEASE, _freeze, danger=True, offered=lambda row: row.frozen_at is None),
        Act("unfreeze", "Unfreeze", Permission.RUN_RELEASE, _unfreeze, offered=lambda row: row.frozen_at is not None),
    )  # fmt: skip

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Agent:
        actor, document = person(request), data.pop("document")
        agent = add_agent(by=actor, reason="added in the admin", **data)
        if document:
            agent.bootstrap(document, by=actor, reason="the first version")
        return agent

    def written(self, request: HttpRequest, row: Agent) -> HttpResponse:
        """Lead on to connecting the new agent."""
        messages.success(request, f"Agent {row} is added. Connect it now.")
        return HttpResponseRedirect(reverse("console:connect", args=(row.pk,)))

    def reading(self, request: HttpRequest, row: Agent) -> dict[str, Any]:
        versions = row.versions.order_by("-number").defer("body", "document")[:15]
        scope, actor = row.access_scope(), person(request)
        return {
            "versions": versions, "stable_id": row.stable_id, "policy": row.policy, "objective": row.objective,
            "layers": sorted(row.stable.document) if row.stable else [],
            "may_stop": can(actor, Permission.STOP_RELEASE, scope), "may_run": can(actor, Permission.RUN_RELEASE, scope),
            "may_write": can(actor, Permission.WRITE_PROPOSAL, scope), "may_change": can(actor, Permission.PROPOSE_CHANGE, scope),
            "cards": [import_string(name)(row) for name in settings.AGENT_CARDS],
        }  # fmt: skip

    @display(description="Stable")
    def stable_number(self, row: Agent) -> str:
        return f"v{row.stable.number}" if row.stable else "none"

    @display(description="State", label={"frozen": "danger", "serving": "success", "empty": "default"})
    def state_label(self, row: Agent) -> tuple[str, str]:
        if row.frozen_at:
            return "frozen", "Frozen"
        return ("serving", "Serving") if row.stable_id else ("empty", "No document")


@admin.register(HarnessVersion)
class HarnessVersionAdmin(GovernedAdmin):
    list_display = ("__str__", "is_stable", "note", "created_by", "created_at", "short_digest")
    list_filter = BY_AGENT
    search_fields = ("=digest", "note")
    list_select_related = ("agent",)
    ordering = ("-id",)
    fields = ("agent", "number", "parent", "digest", "note", "created_by", "created_at")
    reading_template = "harness/version.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("body")

    def reading(self, request: HttpRequest, row: HarnessVersion) -> dict[str, Any]:
        stable = row.agent.stable
        return {
            "lines": pretty(row.document),
            "from_parent": readable_diff(row.parent.document, row.document) if row.parent else [],
            "parent": row.parent, "is_stable": row.agent.stable_id == row.pk, "stable": stable,
            "may_restore": stable is not None and stable.pk != row.pk
            and can(person(request), Permission.WRITE_PROPOSAL, row.agent.access_scope()),
        }  # fmt: skip

    @display(description="Stable", boolean=True)
    def is_stable(self, row: HarnessVersion) -> bool:
        return row.agent.stable_id == row.pk

    @display(description="Digest")
    def short_digest(self, row: HarnessVersion) -> str:
        return row.digest[:12]


class _NumberedAdmin(GovernedAdmin):
    """Immutable numbered documents; the next one comes from a change that two people made."""

    list_display = ("__str__", "in_force", "created_by", "created_at")
    list_filter = BY_AGENT
    list_select_related = ("agent",)
    ordering = ("-id",)
    fields = ("agent", "number", "digest", "created_by", "created_at")
    reading_template = "harness/governing.html"

    def reading(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        may_change = can(person(request), Permission.PROPOSE_CHANGE, row.agent.access_scope())
        return {"lines": pretty(row.document), "kind": str(self.opts.verbose_name), "may_change": may_change}

    @display(description="In force", boolean=True)
    def in_force(self, row: Any) -> bool:
        return bool(getattr(row.agent, f"{self.opts.verbose_name}_id") == row.pk)


@admin.register(ObjectiveVersion)
class ObjectiveVersionAdmin(_NumberedAdmin):
    """What agents are optimized for."""


@admin.register(PolicyVersion)
class PolicyVersionAdmin(_NumberedAdmin):
    """The limits the loop works under."""


@admin.register(Change)
class ChangeAdmin(StatefulAdmin):
    list_display = ("__str__", "state", "kind", "agent", "proposed_by", "proposed_at", "decided_by", "decided_at")
    list_filter = (*BY_AGENT, "status", "kind")
    list_select_related = ("agent", "proposed_by", "decided_by")
    ordering = ("-id",)
    fields = ("agent", "kind", "rationale", "proposed_by", "proposed_at", "decided_by", "decided_at")
    writing_form = ChangeForm
    writing_help = (
        "Two people make a change: you propose it, somebody else approves. Proposals of machines cannot reach it."
    )
    reading_template = "harness/change.html"

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Change:
        return Change.propose(by=person(request), **data)

    def reading(self, request: HttpRequest, row: Change) -> dict[str, Any]:
        return {"lines": readable_diff(in_force(row.agent, row.kind), row.document)}


def _revoke(row: ApiKey, *, by: Actor, reason: str) -> str:
    row.revoke(by=by, reason=reason)
    return f"{row} is revoked; requests with it are refused from now on."


@admin.register(ApiKey)
class ApiKeyAdmin(GovernedAdmin):
    list_display = ("name", "kind", "state_label", "owner", "agent", "prefix", "expires_at", "last_used_at")
    list_filter = (*BY_AGENT, "kind")
    search_fields = ("name", "=prefix")
    list_select_related = ("owner", "agent")
    ordering = ("-id",)
    fields = (
        "name", "kind", "owner", "agent", "scopes", "prefix", "expires_at", "revoked_at", "last_used_at", "created_at"
    )  # fmt: skip
    writing_form = ApiKeyForm
    writing_help = (
        "The secret is shown once, right after the key is made. It is stored as a digest and cannot be read again."
    )
    acts = (
        Act(
            "revoke",
            "Revoke",
            Permission.MANAGE_ACCESS,
            _revoke,
            danger=True,
            offered=lambda row: row.revoked_at is None,
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Everybody may make a key that acts for them; an agent's key needs the permission, which issuing asks for."""
        return self.has_view_permission(request)

    def acts_for(self, request: HttpRequest, row: ApiKey) -> list[Act]:
        if row.owner_id == request.user.pk:
            return [act for act in self.acts if act.offered(row)]
        return super().acts_for(request, row)

    def write(self, request: HttpRequest, data: dict[str, Any]) -> ApiKey:
        owner = request.user
        assert isinstance(owner, User)  # the page needs a login
        key, secret = ApiKey.issue(owner=owner, by=person(request), **data)
        key.secret = secret  # type: ignore[attr-defined]  # lives as long as this request
        return key

    def written(self, request: HttpRequest, row: ApiKey) -> HttpResponse:
        context = {"title": f"Key {row.name}", "secret": row.secret, "key": row, "back": self.page_of(row)}  # type: ignore[attr-defined]  # see write()
        return TemplateResponse(request, "harness/key_once.html", self._around(request) | context)

    @display(description="State", label={**STATUS_COLORS, "revoked": "danger", "expired": "warning"})
    def state_label(self, row: ApiKey) -> tuple[str, str]:
        if row.revoked_at:
            return "revoked", "Revoked"
        if row.expires_at and row.expires_at <= timezone.now():
            return "expired", "Expired"
        return "live", "Live"
