"""Asking for drafts: the page that starts a benchmark, and the button that fills a gap."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from accounts.acting import acting
from accounts.exceptions import DomainError
from audit.desk import person
from episodes.models import Intent
from evals.models import Benchmark, DraftRound
from evals.proposing_cases import MIN_EPISODES, fill_gap, propose_benchmark
from evals.queue_forms import StartForm

__all__ = ["fill_gap_view", "start_view"]


@require_http_methods(["GET", "HEAD", "POST"])
def start_view(request: HttpRequest) -> HttpResponse:
    """Ask which agent's episodes to draft from; on POST ask for the round and lead to where its progress is shown."""
    actor = person(request)
    posted = request.POST if request.method == "POST" else None
    form = StartForm(posted, initial=request.GET.dict(), actor=actor)
    if posted is not None and form.is_valid():
        try:
            with acting(actor, reason="asked for in the admin"):
                started = propose_benchmark(form.cleaned_data["agent"], by=actor, number=form.cleaned_data["number"])
        except DomainError as refusal:
            form.add_error(None, str(refusal))
        else:
            return _under_way(request, started)
    context: dict[str, Any] = {
        **admin.site.each_context(request), "title": "Start a benchmark", "form": form, "opts": Benchmark._meta,
        "media": forms.Media(css={"all": ["desk/desk.css"]}), "min_episodes": MIN_EPISODES,
    }  # fmt: skip
    return TemplateResponse(request, "evals/start.html", context)


@require_POST
def fill_gap_view(request: HttpRequest, benchmark: Benchmark) -> HttpResponse:
    """Ask for drafts of the posted intent; the empty one is traffic that no intent takes."""
    actor, slug = person(request), request.POST.get("intent", "")
    intent = get_object_or_404(Intent.objects.filter(agent=benchmark.agent_id), slug=slug) if slug else None
    try:
        with acting(actor, reason="asked for in the admin"):
            return _under_way(request, fill_gap(benchmark, intent, by=actor))
    except DomainError as refusal:
        messages.error(request, str(refusal))
    return HttpResponseRedirect(reverse("admin:evals_benchmark_change", args=(benchmark.pk,)))


def _under_way(request: HttpRequest, started: DraftRound) -> HttpResponse:
    messages.success(request, "Drafts are being proposed from captured episodes; this page shows how far it is.")
    return HttpResponseRedirect(reverse("admin:evals_benchmark_change", args=(started.benchmark_id,)))
