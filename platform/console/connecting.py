"""Connecting an agent: a key made in place, what to paste, and what has come of it so far."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.access import can
from accounts.exceptions import DomainError
from accounts.models import User
from accounts.roles import Permission
from audit.desk import person
from audit.forms import DeskForm
from console.snippets import PLACEHOLDER, snippets
from episodes.arrivals import arrivals_of
from harness.models import Agent, ApiKey

__all__ = ["CAPTURE_SCOPES", "connect"]

# What an agent needs to fetch its harness and to report what it lived through; truth about outcomes is not its to tell.
CAPTURE_SCOPES = ("episode:write", "harness:read", "outcome:write")


class CaptureKeyForm(DeskForm):
    """A key for one agent."""

    name = forms.CharField(max_length=120, initial="capture", help_text="Where the key is used.")


@require_http_methods(["GET", "HEAD", "POST"])
def connect(request: HttpRequest, pk: Any) -> HttpResponse:
    """Show how the agent is connected and what has come from it; on POST make its key and show it this once.

    `?part=arrivals` is what the page's script puts in place of the same part when something new has come.
    """
    actor = person(request)
    agent = get_object_or_404(Agent.objects.visible_to(actor), pk=pk)
    about: dict[str, Any] = {"agent": agent, "arrivals": arrivals_of(agent)}
    if request.GET.get("part") == "arrivals":
        return TemplateResponse(request, "console/arrivals.html", about)
    form = CaptureKeyForm(request.POST if request.method == "POST" else None, actor=actor)
    key, secret = None, ""
    if request.method == "POST" and form.is_valid() and isinstance(request.user, User):
        try:
            key, secret = ApiKey.issue(
                kind=ApiKey.Kind.AGENT, name=form.cleaned_data["name"], owner=request.user, by=actor, agent=agent,
                scopes=CAPTURE_SCOPES,
            )  # fmt: skip
        except DomainError as refusal:
            messages.error(request, str(refusal))
    context = {
        **admin.site.each_context(request), **about, "title": f"Connect {agent}", "opts": Agent._meta,
        "media": forms.Media(css={"all": ["desk/desk.css"]}), "form": form, "key": key, "secret": secret,
        "may_issue": can(actor, Permission.MANAGE_ACCESS, agent.access_scope()), "placeholder": PLACEHOLDER,
        "snippets": snippets(request.build_absolute_uri("/").rstrip("/"), agent.slug, secret or PLACEHOLDER),
        "back": reverse("admin:harness_agent_change", args=(agent.pk,)),
        "live_keys": ApiKey.objects.live().filter(agent=agent, kind=ApiKey.Kind.AGENT)[:5],
    }  # fmt: skip
    return TemplateResponse(request, "console/connect.html", context)
