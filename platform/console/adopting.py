"""Adopting a harness from traces: what they show beside what is stable, variants to choose from, and the acceptance."""

from textwrap import shorten
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.access import can
from accounts.exceptions import DomainError
from accounts.roles import roles_with
from audit.desk import person
from audit.forms import DeskForm
from episodes.adopting import MAX_TRACES, AdoptionDraft, draft_from_traces
from episodes.otlp.choosing import KEEP, Option
from harness.limits import refusals
from harness.lines import pretty
from harness.models import Agent
from proposals.adoption import Acceptance, accept_adopted, permission_to_accept
from proposals.drafting import edit_of_layer
from proposals.models import Proposal

__all__ = ["adopt_from_traces"]

_LAYERS = ("prompt", "tools", "workflow", "model")
_MAX_LINES = 80


class AcceptForm(DeskForm):
    """What the person read, and why it is right; the claim is asked only where proposals come of it."""

    digest = forms.CharField(max_length=64, widget=forms.HiddenInput())
    base = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput())
    prompt = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput())
    tools = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput())
    workflow = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput())
    model = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput())
    claim = forms.ChoiceField(
        choices=Proposal.Claim.choices, required=False,
        help_text="Picks the primary test; it cannot change after submission.",
    )  # fmt: skip
    reason = forms.CharField(
        max_length=4_000, widget=forms.Textarea(attrs={"rows": 3}), help_text="Goes into the record."
    )


@require_http_methods(["GET", "HEAD", "POST"])
def adopt_from_traces(request: HttpRequest, pk: Any) -> HttpResponse:
    """Show the draft that the newest traces give, with the options the address names; on POST accept what was shown."""
    actor = person(request)
    agent = get_object_or_404(Agent.objects.visible_to(actor).select_related("stable", "policy"), pk=pk)
    form = AcceptForm(request.POST, actor=actor) if request.method == "POST" else None
    if form is not None and form.is_valid():
        data = form.cleaned_data
        try:
            accepted = accept_adopted(
                agent, by=actor, choices={layer: data[layer] for layer in _LAYERS if data[layer]}, digest=data["digest"],
                base=data["base"], reason=data["reason"], claim=data["claim"] or Proposal.Claim.FIXES,
            )  # fmt: skip
        except DomainError as refusal:
            messages.error(request, str(refusal))
            return HttpResponseRedirect(reverse("console:adopt", args=(agent.pk,)))
        return _accepted(request, agent, accepted)
    return TemplateResponse(request, "console/adopt.html", _shown(request, agent, form))


def _accepted(request: HttpRequest, agent: Agent, accepted: Acceptance) -> HttpResponse:
    if accepted.version is not None:
        messages.success(request, f"{accepted.version} is served from now on: what the traces showed is version 1.")
        return HttpResponseRedirect(reverse("admin:harness_harnessversion_change", args=(accepted.version.pk,)))
    drafts = accepted.proposals
    messages.success(request, f"Drafts written: {'; '.join(map(str, drafts))}. Submit them to have them judged.")
    if len(drafts) == 1:
        return HttpResponseRedirect(reverse("admin:proposals_proposal_change", args=(drafts[0].pk,)))
    newest = f"?agent__id__exact={agent.pk}&status__exact={Proposal.Status.DRAFT}"
    return HttpResponseRedirect(reverse("admin:proposals_proposal_changelist") + newest)


def _shown(request: HttpRequest, agent: Agent, form: AcceptForm | None) -> dict[str, Any]:
    actor = person(request)
    given = request.POST if form is not None else request.GET
    wanted = {layer: given[layer] for layer in _LAYERS if given.get(layer)}
    permission = permission_to_accept(agent)
    context: dict[str, Any] = {
        **admin.site.each_context(request), "title": f"Adopt from traces: {agent}", "agent": agent, "opts": Agent._meta,
        "media": forms.Media(css={"all": ["desk/desk.css"]}), "may_accept": can(actor, permission, agent.access_scope()),
        "permission": permission, "max_traces": MAX_TRACES, "holders": ", ".join(role.label.lower() for role in roles_with(permission)),
        "back": reverse("admin:harness_agent_change", args=(agent.pk,)),
    }  # fmt: skip
    try:
        draft = draft_from_traces(agent, wanted)
    except DomainError as refusal:
        return context | {"refusal": str(refusal), "wanted": wanted}
    if form is None:
        read = {"digest": draft.digest, "base": draft.base_digest} | {c.layer: c.chosen.key for c in draft.choices}
        form = AcceptForm(initial=read, actor=actor)
    if draft.base is None:
        del form.fields["claim"]
    choices = [(choice, [_previewed(choice.layer, option) for option in choice.options]) for choice in draft.choices]
    return context | {
        "draft": draft, "choices": choices, "form": form, "lines": draft.lines(), "laws": _laws(agent, draft),
        "changed": draft.changed_layers, "num_traces": len(draft.trace_ids),
    }  # fmt: skip


def _previewed(layer: str, option: Option) -> dict[str, Any]:
    """Return the option with the first lines of what it says."""
    if option.key == KEEP:
        return {"option": option, "lines": [], "more": 0}
    lines = pretty({layer: option.value})
    percent = None if option.share is None else round(100 * option.share)
    return {
        "option": option,
        "lines": lines[:_MAX_LINES],
        "more": max(0, len(lines) - _MAX_LINES),
        "percent": percent,
        "brief": _brief(option.value),
    }


def _brief(value: Any) -> str:
    """Return in a few words what an option says: the prompt's beginning, the tools' names, the model's."""
    if isinstance(value, str):
        return shorten(value, 100, placeholder="…")
    if isinstance(value.get("name"), str):
        return shorten(value["name"], 100, placeholder="…")
    return shorten(", ".join(value), 100, placeholder="…")


def _laws(agent: Agent, draft: AdoptionDraft) -> list[tuple[str, str]]:
    """Return which laws of the small change each layer's proposal would break; a first document knows none."""
    if draft.base is None:
        return []
    limits = agent.current_policy().patch
    return [
        (layer, law.sentence)
        for layer in draft.changed_layers
        for law in refusals(
            draft.base.document, edit_of_layer(draft.base, layer, draft.document[layer]), "fixes", "person", limits
        )
    ]
