"""Pages that span stages: asking for a proposal from a pattern, restoring an earlier version by a proposal."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.access import can, require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.desk import Act, person
from audit.forms import verb_form
from episodes.models import Pattern
from harness.lines import readable_diff
from harness.models import Agent, HarnessVersion
from proposals.drafters import draft_for_pattern
from releases.admission import lift_throttle
from releases.rollout import revert_now

__all__ = ["AGENT_ACTS", "agent_act", "ask_for_proposal", "restore_version"]


def _revert(agent: Agent, *, by: Actor, reason: str) -> str:
    return f"{revert_now(agent, by=by, reason=reason)} is being rolled back."


def _lift_throttle(agent: Agent, *, by: Actor, reason: str) -> str:
    lift_throttle(agent, by=by, reason=reason)
    return "The throttle is lifted; the record says by whom and why."


# What can be done to an agent that only the stages above it know how to do.
AGENT_ACTS = {
    "revert": Act("revert", "Revert now", Permission.STOP_RELEASE, _revert, danger=True),
    "lift-throttle": Act("lift-throttle", "Lift the throttle", Permission.RUN_RELEASE, _lift_throttle),
}


def agent_act(request: HttpRequest, pk: Any, verb: str) -> HttpResponse:
    """Ask for the reason, then do it to the agent and say what came of it."""
    actor, act = person(request), AGENT_ACTS.get(verb)
    agent = get_object_or_404(Agent.objects.visible_to(actor), pk=pk)
    if act is None:
        raise Http404(f"There is no act {verb!r}; there are {', '.join(AGENT_ACTS)}.")
    back = reverse("admin:harness_agent_change", args=(agent.pk,))
    form = verb_form(None, needs_reason=True)(request.POST if request.method == "POST" else None, actor=actor)
    if request.method != "POST" or not form.is_valid():
        context = {
            **admin.site.each_context(request), "title": f"{act.label}: {agent}", "form": form, "act": act, "row": agent,
            "back": back, "opts": Agent._meta, "media": forms.Media(css={"all": ["desk/desk.css"]}),
        }  # fmt: skip
        return TemplateResponse(request, "desk/verb.html", context)
    try:
        said = act.perform(agent, by=actor, reason=form.cleaned_data["reason"])
    except DomainError as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, said or f"{act.label}: done.")
    return HttpResponseRedirect(back)


@require_POST
def ask_for_proposal(request: HttpRequest, pk: Any) -> HttpResponse:
    """Let the strategies write for one pattern now; say what came of it."""
    actor = person(request)
    pattern = get_object_or_404(Pattern.objects.visible_to(actor), pk=pk)
    back = HttpResponseRedirect(reverse("admin:episodes_pattern_change", args=(pattern.pk,)))
    try:
        require(actor, Permission.WRITE_PROPOSAL, pattern.access_scope(), act=f"ask for a proposal on {pattern}")
        with acting(actor, reason="asked for a proposal in the admin"):
            written, declined = draft_for_pattern(pattern, by=actor)
    except DomainError as refusal:
        messages.error(request, str(refusal))
        return back
    for reason in declined:
        messages.warning(request, reason)
    if written:
        messages.success(request, f"Written and submitted: {written[0]}.")
        return HttpResponseRedirect(reverse("admin:proposals_proposal_change", args=(written[0].pk,)))
    if not declined:
        messages.warning(request, f"No strategy writes for the layer {pattern.layer!r} yet: write a proposal yourself.")
    return back


def restore_version(request: HttpRequest, pk: Any) -> HttpResponse:
    """Show how an earlier version differs from stable and offer its layers: restoring is a proposal like any other."""
    actor = person(request)
    version = get_object_or_404(HarnessVersion.objects.visible_to(actor).select_related("agent__stable"), pk=pk)
    stable = version.agent.stable
    then, now = version.document, stable.document if stable else {}
    form = f"{reverse('admin:proposals_proposal_add')}?agent={version.agent.slug}&version={version.pk}&layer="
    layers = [(name, form + name) for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    context = {
        **admin.site.each_context(request), "title": f"Restore {version}", "version": version, "stable": stable,
        "lines": readable_diff(now, then), "layers": layers,
        "may_write": can(actor, Permission.WRITE_PROPOSAL, version.agent.access_scope()),
        "back": reverse("admin:harness_harnessversion_change", args=(version.pk,)),
    }  # fmt: skip
    return TemplateResponse(request, "console/restore.html", context)
