"""The admin's login, slowed down for whoever guesses."""

import math

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from accounts.guessing import forget_failures, note_failure, wait_s, who_guesses

__all__ = ["login"]


def login(request: HttpRequest) -> HttpResponse:
    """Sign somebody in; after ten failures in a quarter of an hour for one name from one address answer 429."""
    if request.method != "POST":
        return admin.site.login(request)
    who = who_guesses(request.POST.get("username", ""), _address(request))
    wait = math.ceil(wait_s(who))
    if wait:
        sentence = f"Too many failed attempts for this name from your address. Try again in {wait} seconds.\n"
        return HttpResponse(sentence, status=429, content_type="text/plain", headers={"Retry-After": str(wait)})
    response = admin.site.login(request)
    if request.user.is_authenticated:
        forget_failures(who)
    else:
        note_failure(who)
    return response


def _address(request: HttpRequest) -> str:
    """Return where the request comes from: in production what the proxy in front of us wrote last."""
    passed_on = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() if settings.IS_PRODUCTION else ""
    return passed_on or str(request.META.get("REMOTE_ADDR", ""))
