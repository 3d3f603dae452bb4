"""Probes for machines: is the process alive, can it serve, and how far behind is the work."""

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any

import redis
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from accounts.access import has_anywhere
from accounts.acting import MACHINE, NOBODY, Actor
from accounts.models import User
from accounts.roles import Permission
from audit.chain import status as chain_status
from audit.desk import person, standing
from episodes.completeness import reasons, tallies
from episodes.gaps import GRACE_S, gaps
from episodes.models import Episode
from harness.models import ApiKey
from jobs.models import Beat, Task
from jobs.schedule import beat_age_s
from releases.models import Release

__all__ = ["health_page", "healthz", "metrics", "readyz"]

_TIMEOUT_S = 2


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process runs; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, migrations and Redis are ready, else 503; each part is named either way.

    A gap in the analysis alarms here too, but leaves the service ready: capture must go on to lose nothing more.
    """
    parts = _parts()
    ready = all(part == "ok" for part in parts.values())
    analysis = _part(_analysis) if ready else "not known while the service is not ready"
    return JsonResponse({"ready": ready, "parts": parts | {"analysis": analysis}}, status=200 if ready else 503)


def _parts() -> dict[str, str]:
    return {"database": _part(_database), "migrations": _part(_migrations), "redis": _part(_redis)}


def _analysis() -> str:
    """Return how many agents have a gap, without their names: anybody may ask."""
    number = len({gap.agent_id for gap in gaps(MACHINE)})
    return f"ALARM: agents whose episodes may be lost: {number}; the page Health names them" if number else "ok"


def health_page(request: HttpRequest) -> HttpResponse:
    """Show what is up, what was captured and what became of it, for the agents the person may see."""
    if Permission.VIEW not in standing(request):
        raise PermissionDenied
    actor = person(request)
    accounts, found = tallies(actor), gaps(actor)
    agents = {account.agent_id: account.agent for account in accounts}
    context = {
        **admin.site.each_context(request), "title": "Health", "parts": _parts(), "accounts": accounts, "gaps": found,
        "total": {name: sum(getattr(row, name) for row in accounts) for name in _COUNTED},
        "reasons": [(agents.get(reason.agent_id), reason) for reason in reasons(actor)],
        "counted_at": max((row.counted_at for row in accounts if row.counted_at), default=None),
        "lag_s": _episode_lag_s(), "grace_s": GRACE_S, "oldest_job_s": _oldest_job_s(), "chain": chain_status(),
        "beats": Beat.objects.visible_to(actor).order_by("name"),
    }  # fmt: skip
    return TemplateResponse(request, "console/health.html", context)


_COUNTED = ("captured", "analyzed", "pending", "failed", "missing")


def _part(check: Callable[[], str]) -> str:
    try:
        return check()
    except (DatabaseError, redis.RedisError, OSError) as error:
        return f"{type(error).__name__}: not reachable"


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} not applied: run manage.py migrate" if missing else "ok"


def _redis() -> str:
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
    ) as client:
        client.ping()
    return "ok"


class _Loop:
    """Reads the gauges from the database whenever they are asked for."""

    def collect(self) -> Iterator[Any]:
        chain = chain_status()
        yield _gauge("capture_lag_seconds", "Age of the oldest episode not yet understood.", _episode_lag_s())
        yield from _capture()
        yield _gauge("oldest_job_seconds", "How long the oldest due job has waited.", _oldest_job_s())
        yield _gauge("reconciler_age_seconds", "Since the reconciler last finished; -1 when it never did.",
                     _age("jobs.reconciler.reconcile"))  # fmt: skip
        yield _gauge("guard_age_seconds", "Since the guard last finished; -1 when it never did.",
                     _age("releases.jobs.tick_releases"))  # fmt: skip
        yield _gauge("unsealed_events", "Events of the record waiting for their seal.", chain.unsealed)
        yield _gauge("sealed_head", "Sequence number of the last sealed event, the head of the chain; 0 before the first.",
                     chain.sealed)  # fmt: skip
        live = GaugeMetricFamily(
            "whetstone_live_releases", "Releases whose weight decides what users get.", labels=["status"]
        )
        statuses = list(Release.objects.live().values_list("status", flat=True))
        for status in ("running", "paused", "promoting", "inconclusive"):
            live.add_metric([status], statuses.count(status))
        yield live


def _capture() -> Iterator[Any]:
    """Yield the account of each agent's episodes as it was last counted, and what alarms now."""
    accounts = tallies(MACHINE)
    episodes = GaugeMetricFamily(
        "whetstone_episodes", "Captured episodes by what became of them; missing ones entered the record and are gone.",
        labels=["agent", "state"],
    )  # fmt: skip
    lags = GaugeMetricFamily(
        "whetstone_analysis_lag_p95_seconds", "From capture to the end of analysis, of an agent's newest episodes.",
        labels=["agent"],
    )  # fmt: skip
    for account in accounts:
        for name in _COUNTED:
            episodes.add_metric([account.agent.slug, name], getattr(account, name))
        if account.lag_p95_s is not None:
            lags.add_metric([account.agent.slug], account.lag_p95_s)
    yield episodes
    yield lags
    found = gaps(MACHINE)
    known = {account.agent.slug for account in accounts} | {one.agent for one in found}
    for name, of, text in (
        ("whetstone_analysis_gap", "episodes", "1 where episodes will not be analyzed or are gone."),
        (
            "whetstone_trace_gap",
            "traces",
            "1 where received traces do not become episodes, or were refused within the last day.",
        ),
    ):
        gap, broken = GaugeMetricFamily(name, text, labels=["agent"]), {one.agent for one in found if one.of == of}
        for slug in sorted(known):
            gap.add_metric([slug], slug in broken)
        yield gap
    counted = max((row.counted_at for row in accounts if row.counted_at), default=None)
    age = (timezone.now() - counted).total_seconds() if counted else -1.0
    yield _gauge("episodes_counted_age_seconds", "Since episodes were last counted; -1 when they never were.", age)


def _gauge(name: str, text: str, value: float) -> Any:
    return GaugeMetricFamily(f"whetstone_{name}", text, value=value)


def _age(beat: str) -> float:
    age = beat_age_s(beat)
    return -1.0 if age is None else age


def _episode_lag_s() -> float:
    oldest = Episode.objects.waiting().aggregate(oldest=Min("captured_at"))["oldest"]
    return max(0.0, (timezone.now() - oldest).total_seconds()) if oldest else 0.0


def _oldest_job_s() -> float:
    oldest = Task.objects.due().aggregate(oldest=Min("available_at"))["oldest"]
    return max(0.0, (timezone.now() - oldest).total_seconds()) if oldest else 0.0


def metrics(request: HttpRequest) -> HttpResponse:
    """Print the gauges for Prometheus: to this machine, to a signed-in member, or to a person's key that may view."""
    if not _is_local(request) and not has_anywhere(_actor(request), Permission.VIEW):
        return HttpResponse("Scrape from this machine, or send a person's key with the scope 'view'.\n", status=403)
    registry = CollectorRegistry()
    registry.register(_Loop())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _is_local(request: HttpRequest) -> bool:
    """Return whether the request comes from this machine itself; one that a proxy passed on does not."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def _actor(request: HttpRequest) -> Actor:
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        key = ApiKey.authenticate(presented.strip())
        return key.as_actor() if key and key.kind == ApiKey.Kind.PERSON else NOBODY
    return request.user.as_actor() if isinstance(request.user, User) else NOBODY
