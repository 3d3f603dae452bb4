"""The link that ticket systems carry: an address made of any id an episode is known by."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from audit.desk import person
from episodes.finding import by_name

__all__ = ["open_by_name"]


def open_by_name(request: HttpRequest, name: str) -> HttpResponse:
    """Lead to the one visible episode of that id or reference, or to its conversation; list several; else say why not."""
    found = by_name(person(request), name)
    if len(found.episodes) == 1:
        return HttpResponseRedirect(reverse("admin:episodes_episode_change", args=(found.episodes[0].pk,)))
    if found.conversation is not None:
        return HttpResponseRedirect(reverse("admin:episodes_conversation_change", args=(found.conversation.pk,)))
    context: dict[str, Any] = {
        **admin.site.each_context(request), "name": name, "found": found,
        "title": f"{len(found.episodes)} episodes" if found.episodes else "No such episode",
    }  # fmt: skip
    return TemplateResponse(request, "episodes/found.html", context, status=200 if found.episodes else 404)
