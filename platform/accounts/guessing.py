"""Guessing passwords takes long: failures are counted per name and address, in the database, however many processes serve."""

import hashlib
import hmac
import unicodedata
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from accounts.models import FailedLogin

__all__ = ["MAX_FAILURES", "WINDOW", "forget_failures", "note_failure", "wait_s", "who_guesses"]

MAX_FAILURES = 10
WINDOW = timedelta(minutes=15)


def who_guesses(username: str, address: str) -> str:
    """Return the keyed digest of a name and an address: people type passwords where names belong, so neither is kept."""
    name = unicodedata.normalize("NFKC", username)
    text = f"{len(name)}:{name}{address}".encode("utf-8", "replace")
    return hmac.new(settings.SECRET_KEY.encode(), text, hashlib.sha256).hexdigest()


def wait_s(who: str) -> float:
    """Return for how long this name may not try again from this address; 0 when it may."""
    recent = FailedLogin.objects.filter(who=who, at__gt=timezone.now() - WINDOW).order_by("-at")
    times = list(recent.values_list("at", flat=True)[:MAX_FAILURES])
    if len(times) < MAX_FAILURES:
        return 0.0
    return max(0.0, (times[-1] + WINDOW - timezone.now()).total_seconds())


def note_failure(who: str) -> None:
    """Count one more failure, and forget the old ones of everybody."""
    FailedLogin.objects.filter(at__lt=timezone.now() - WINDOW).delete()
    FailedLogin.objects.create(who=who)


def forget_failures(who: str) -> None:
    """Begin anew after a right password."""
    FailedLogin.objects.filter(who=who).delete()
