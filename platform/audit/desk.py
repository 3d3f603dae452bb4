"""The admin's ground: pages that show only what their reader may see and change rows only through verbs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from pgvector.django import VectorField
from pydantic import BaseModel
from unfold.admin import ModelAdmin
from unfold.decorators import display

from accounts.access import Scope, can
from accounts.acting import NOBODY, Actor, acting
from accounts.backends import FORMS
from accounts.exceptions import DomainError, NotPermittedError
from accounts.models import Membership, User
from accounts.roles import ROLES, Permission, Role
from audit.forms import DeskForm, verb_form
from audit.record import record
from audit.trail import events_about, versions_of
from audit.transitions import Edge, Stateful, performer_of

__all__ = [
    "MAX_CHOICES", "STATUS_COLORS", "Act", "GovernedAdmin", "StatefulAdmin", "VisibleRelatedFilter", "folded", "person",
    "standing", "visible_choices",
]  # fmt: skip

MAX_CHOICES = 200

STATUS_COLORS: dict[str, str] = (
    dict.fromkeys(
        ("approved", "validated", "promoted", "verified", "resolved", "judged", "active", "live", "pass"), "success"
    )
    | dict.fromkeys(("confirmed", "done", "ok"), "success")
    | dict.fromkeys(
        ("draft", "withdrawn", "superseded", "retired", "canceled", "ignored", "stale", "declined"), "default"
    )
    | dict.fromkeys(("submitted", "proposed", "queued", "running", "validating", "released", "new", "claimed"), "info")
    | dict.fromkeys(
        ("held", "hold", "paused", "stopped", "awaiting_approval", "escalating", "inconclusive", "confounded"),
        "warning",
    )
    | dict.fromkeys(
        ("promoting", "addressed", "not_fixed", "quarantined", "emerging", "abandoned", "escalated"), "warning"
    )
    | dict.fromkeys(
        ("failed", "fail", "rolled_back", "rolling_back", "regressed", "blocked", "error", "blind"), "danger"
    )
)


def person(request: HttpRequest) -> Actor:
    """Return the signed-in person as an actor; nobody where no one is signed in."""
    return request.user.as_actor() if isinstance(request.user, User) else NOBODY


def standing(request: HttpRequest) -> frozenset[Permission]:
    """Return what the person may do in at least one team; read once per request, because menus ask for every model."""
    found: frozenset[Permission] | None = getattr(request, "whetstone_standing", None)
    if found is None:
        roles = set(Membership.objects.of(person(request)).values_list("role", flat=True))
        found = frozenset().union(*(ROLES[Role(role)] for role in roles))
        request.whetstone_standing = found  # type: ignore[attr-defined]  # a cache that lives as long as the request
    return found


def visible_choices(request: HttpRequest, model: Any) -> list[tuple[Any, str]]:
    """Return key and name of the first `MAX_CHOICES` rows of `model` that the person may see; read once per request."""
    known: dict[Any, list[tuple[Any, str]]] = request.__dict__.setdefault("whetstone_choices", {})
    if model not in known:
        rows = model._default_manager.visible_to(person(request))
        known[model] = [(row.pk, str(row)) for row in rows[:MAX_CHOICES]]
    return known[model]


def folded(*fields: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return fieldsets that keep `fields` folded away, for pages whose reading says what matters."""
    return (("Details", {"fields": fields, "classes": ("collapse",)}),)


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # generic over any row
    """Counts up to a cap, so that a list of millions opens as fast as a list of hundreds."""

    CAP = 10_000

    @cached_property
    def count(self) -> int:
        rows = cast("models.QuerySet[Any]", self.object_list)
        return rows.order_by()[: self.CAP].count()


class VisibleRelatedFilter(admin.RelatedFieldListFilter):
    """Offers only related rows that the reader may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return visible_choices(request, field.remote_field.model)


@dataclass(frozen=True)
class Act:
    """One button of a change page: the verb, who may press it, what else it needs, and what it calls.

    `perform(row, by=…, reason=…, **arguments)` may return a sentence for the person; `offered` says whether the row is
    in a state in which the button makes sense.
    """

    verb: str
    label: str
    permission: Permission | None
    perform: Callable[..., str | None]
    needs_reason: bool = True
    danger: bool = False
    form: type[BaseModel] | None = None
    offered: Callable[[Any], bool] = lambda _: True
    initial: Callable[[Any], dict[str, Any]] = lambda _: {}

    @classmethod
    def of_edge(cls, edge: Edge, model: type[models.Model]) -> "Act":
        return cls(
            edge.verb, edge.label, edge.permission, performer_of(model, edge.verb),
            needs_reason=edge.needs_reason, danger=edge.danger, form=edge.form,
            offered=lambda row: row.status in edge.sources,
        )  # fmt: skip


class GovernedAdmin(ModelAdmin):
    """A page over rows of one model: visible rows only, read-only but for `FORMS`, moved by `acts`.

    `reading_template` is shown above the fields, with what `reading()` returns as `reading`.
    `writing_form` replaces the form of the add page; `write()` turns its data into a row by the domain's verb, and
    `preview()` shows what would come of it before anything is written.
    `editable` names the fields a form may set on an existing row.
    """

    acts: ClassVar[tuple[Act, ...]] = ()
    editable: ClassVar[tuple[str, ...]] = ()
    reading_template: ClassVar[str] = ""
    writing_form: ClassVar[type[DeskForm] | None] = None
    writing_template: ClassVar[str] = "desk/write.html"
    writing_help: ClassVar[str] = ""

    show_full_result_count = False
    paginator = CappedPaginator
    list_per_page = 50
    list_fullwidth = True
    list_select_related: bool | Sequence[str] = ()
    list_display_links: Any = ()
    actions: Any = ()
    change_form_outer_before_template = "desk/change_before.html"

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("desk/desk.css",)}

    # what is seen

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows = self.visible_rows(request)
        ordering = self.get_ordering(request)
        return rows.order_by(*ordering) if ordering else rows

    def visible_rows(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Return the rows that the person may see, in any order."""
        manager: Any = self.model._default_manager
        return cast("models.QuerySet[Any]", manager.visible_to(person(request)))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        if self.fields or self.fieldsets:
            return cast("Sequence[Any]", super().get_fields(request, obj))
        concealed = (VectorField, models.BinaryField)
        return [field.name for field in self.model._meta.fields if not isinstance(field, concealed)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        shown = admin.utils.flatten_fieldsets(self.get_fieldsets(request, obj))
        settable = self.editable if obj is not None else [f.name for f in self.model._meta.fields if f.editable]
        own = [name for name in shown if name not in settable]
        return [*own, *(name for name in self.readonly_fields if name not in own)]

    def reading(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what `reading_template` shows."""
        return {}

    # who may

    def scope_of(self, row: Any) -> Scope | None:
        """Return whose roles govern `row`: its own answer, or that of the agent it belongs to."""
        if hasattr(row, "access_scope"):
            return cast("Scope", row.access_scope())
        for name in str(getattr(type(row), "AGENT_PATH", "agent")).split("__"):
            row = getattr(row, name, None)
        return cast("Scope", row.access_scope()) if row is not None else None

    def _may(self, request: HttpRequest, act: str, row: Any) -> bool:
        permission = FORMS.get(f"{self.opts.app_label}.{act}_{self.opts.model_name}")
        if permission is None or permission not in standing(request):
            return False
        scope = self.scope_of(row) if row is not None else None
        return row is None or (scope is not None and can(person(request), permission, scope))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return Permission.VIEW in standing(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return Permission.VIEW in standing(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "add", None)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.editable) and self._may(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "delete", obj)

    def get_actions(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        actions = super().get_actions(request, *args, **kwargs)
        actions.pop("delete_selected", None)
        return actions

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        visible = db_field.remote_field.model._default_manager
        if hasattr(visible, "visible_to"):
            kwargs.setdefault("queryset", visible.visible_to(person(request)))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    # what is written down

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        with acting(person(request), reason="edited in the admin" if change else "added in the admin"):
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with acting(person(request), reason="deleted in the admin"):
            super().delete_model(request, obj)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._record(request, "add", obj, {})

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        changed = [
            entry["changed"].get("fields", []) for entry in message if isinstance(entry, dict) and "changed" in entry
        ]
        return self._record(request, "change", obj, {"fields": [name for names in changed for name in names]})

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return [self._record(request, "delete", row, {"was": str(row)}) for row in queryset]

    def _record(self, request: HttpRequest, act: str, row: Any, facts: dict[str, Any]) -> Any:
        scope = self.scope_of(row)
        team_id = scope.team_id if scope else None
        return record(f"{self.opts.model_name}.{act}", row, actor=person(request), team_id=team_id, facts=facts)

    # pages

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_verb"
        view = self.admin_site.admin_view(self.verb_view)
        return [path("<path:object_id>/verb/<slug:verb>/", view, name=name), *super().get_urls()]

    def acts_of(self, row: Any) -> list[Act]:
        """Return every act this page knows, whoever looks and wherever the row stands."""
        return list(self.acts)

    def acts_for(self, request: HttpRequest, row: Any) -> list[Act]:
        """Return the acts that make sense now and that the person may try; the verb itself may still refuse."""
        scope, actor = self.scope_of(row), person(request)
        return [
            act for act in self.acts_of(row)
            if act.permission and scope and act.offered(row) and can(actor, act.permission, scope)
        ]  # fmt: skip

    def render_change_form(self, request: HttpRequest, context: Any, **kwargs: Any) -> HttpResponse:
        row = kwargs.get("obj")
        if row is not None:
            base = f"admin:{self.opts.app_label}_{self.opts.model_name}_verb"
            buttons = [(act, reverse(base, args=(quote(row.pk), act.verb))) for act in self.acts_for(request, row)]
            context |= {
                "buttons": buttons,
                "status_color": STATUS_COLORS.get(getattr(row, "status", ""), "default"),
                "reading_template": self.reading_template,
                "reading": self.reading(request, row) if self.reading_template else {},
            }
        return cast("HttpResponse", super().render_change_form(request, context, **kwargs))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if self.writing_form is None:
            return cast("HttpResponse", super().add_view(request, form_url, extra_context))
        if not self.has_add_permission(request):
            raise PermissionDenied
        actor = person(request)
        form = self.writing_form(
            request.POST if request.method == "POST" else None, initial=request.GET.dict(), actor=actor
        )
        context = {"form": form, "help": self.writing_help, "title": f"Add {self.opts.verbose_name}"} | (
            extra_context or {}
        )
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic(), acting(actor, reason="written in the admin"):
                    if "_preview" not in request.POST:
                        return self.written(request, self.write(request, form.cleaned_data))
                    context["preview"] = self.preview(request, form.cleaned_data)
            except DomainError as refusal:
                form.add_error(None, str(refusal))
        return TemplateResponse(request, self.writing_template, self._around(request) | context)

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Any:
        """Make the row from the valid data of `writing_form`, by the domain's own verb."""
        raise NotImplementedError(f"{type(self).__name__} has a writing form but no write()")

    def preview(self, request: HttpRequest, data: dict[str, Any]) -> dict[str, Any]:
        """Return what writing `data` would come to; pages without a preview have none."""
        return {}

    def written(self, request: HttpRequest, row: Any) -> HttpResponse:
        messages.success(request, f"{str(self.opts.verbose_name).capitalize()} {row} is written.")
        return HttpResponseRedirect(self.page_of(row))

    def page_of(self, row: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=(quote(row.pk),))

    def _around(self, request: HttpRequest) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}

    def verb_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """Ask for the reason and what else the verb needs; on POST call it and carry its answer or refusal back."""
        row = self.get_object(request, unquote(object_id))
        act = next((act for act in self.acts_of(row) if act.verb == verb), None) if row is not None else None
        if row is None or act is None:
            raise Http404(f"No {self.opts.verbose_name} with this verb is visible to you.")
        if act.permission is None:
            refusal = NotPermittedError(f"Nobody may {act.label.lower()} by hand: only the machine makes this move.")
            return self._refused(request, row, refusal)
        # What the page showed is what the decision names.
        shown = ({"digest": row.audit_digest()} if isinstance(row, Stateful) else {}) | act.initial(row)
        posted = request.POST if request.method == "POST" else None
        form = verb_form(act.form, needs_reason=act.needs_reason)(posted, initial=shown, actor=person(request))
        if posted is None or not form.is_valid():
            context = {"form": form, "act": act, "row": row, "title": f"{act.label}: {row}", "back": self.page_of(row)}
            return TemplateResponse(request, "desk/verb.html", self._around(request) | context)
        return self._perform(request, row, act, form.cleaned_data["reason"], form.arguments)

    def _perform(
        self, request: HttpRequest, row: Any, act: Act, reason: str, arguments: dict[str, Any]
    ) -> HttpResponse:
        try:
            with acting(person(request), reason=reason):
                said = act.perform(row, by=person(request), reason=reason, **arguments)
        except DomainError as refusal:
            return self._refused(request, row, refusal)
        if not self.model._base_manager.filter(pk=row.pk).exists():
            messages.success(request, said or f"{act.label}: done.")
            return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        row.refresh_from_db()
        now = f" It is {row.get_status_display().lower()} now." if isinstance(row, Stateful) else ""  # type: ignore[attr-defined]  # every machine's status has choices
        messages.success(request, said or f"{act.label}: done.{now}")
        return HttpResponseRedirect(self.page_of(row))

    def _refused(self, request: HttpRequest, row: Any, refusal: DomainError) -> HttpResponse:
        messages.error(request, str(refusal))
        return HttpResponseRedirect(self.page_of(row))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(f"No {self.opts.verbose_name} with this key is visible to you.")
        context = {
            "title": f"History: {row}", "row": row, "back": self.page_of(row), "versions": versions_of(row),
            "events": events_about(row, person(request)), "keeps_history": hasattr(row, "history"),
        }  # fmt: skip
        return TemplateResponse(request, "desk/history.html", self._around(request) | context)


class StatefulAdmin(GovernedAdmin):
    """A page over rows of a state machine: one button per edge that the person may walk from here."""

    def acts_of(self, row: Any) -> list[Act]:
        return [*(Act.of_edge(edge, type(row)) for edge in row.EDGES), *self.acts]

    @display(description="Status", ordering="status", label=STATUS_COLORS)
    def state(self, row: Any) -> tuple[str, str]:
        return row.status, row.get_status_display()
