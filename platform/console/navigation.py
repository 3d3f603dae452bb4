"""What stands around every page: the badge of the environment and the navigation in river order."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from accounts.roles import Permission
from audit.desk import standing

__all__ = ["environment_badge", "icon", "navigation"]

# Title of the group, then title, icon and model of each page; the order is the river's, then the ground below it.
RIVER: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Episodes",
        (
            ("Episodes", "forum", "episodes_episode"),
            ("Conversations", "chat", "episodes_conversation"),
            ("Patterns", "troubleshoot", "episodes_pattern"),
            ("Critiques", "rate_review", "episodes_critique"),
            ("Corrections", "edit_note", "episodes_correction"),
            ("Flags", "flag", "episodes_flag"),
            ("Intents", "category", "episodes_intent"),
        ),
    ),
    (
        "Proposals",
        (("Proposals", "difference", "proposals_proposal"), ("Strategies", "lightbulb", "proposals_strategy")),
    ),
    (
        "Evals",
        (
            ("Runs", "science", "evals_run"),
            ("Benchmarks", "checklist", "evals_benchmark"),
            ("Cases", "quiz", "evals_case"),
            ("Rubrics", "balance", "evals_judgerubric"),
        ),
    ),
    (
        "Releases",
        (("Releases", "rocket_launch", "releases_release"), ("User states", "person_pin", "releases_userstate")),
    ),
    (
        "Ground",
        (
            ("Agents", "smart_toy", "harness_agent"),
            ("Versions", "history", "harness_harnessversion"),
            ("Policies", "policy", "harness_policyversion"),
            ("Objectives", "target", "harness_objectiveversion"),
            ("Changes", "rule", "harness_change"),
            ("Lessons", "school", "lessons_lesson"),
            ("API keys", "key", "harness_apikey"),
            ("Model calls", "receipt_long", "inference_ledgerentry"),
            ("The record", "verified", "audit_event"),
        ),
    ),
    (
        "People",
        (
            ("People", "group", "accounts_user"),
            ("Roles", "badge", "accounts_membership"),
            ("Teams", "groups", "accounts_team"),
        ),
    ),
)
OPERATION = (("Jobs", "pending_actions", "jobs_task"), ("Schedule", "schedule", "jobs_beat"))


def environment_badge(request: HttpRequest) -> list[str]:
    """Return the badge beside the title, so that nobody mistakes production for something else."""
    return ["Production", "danger"] if settings.IS_PRODUCTION else ["Development", "info"]


def icon(request: HttpRequest) -> str:
    """Return the address of the icon that a browser shows beside the title."""
    return static("console/icon.svg")


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar: home, the four stages, the ground; operation only for whoever runs the installation."""
    home = {"items": [{"title": "Home", "icon": "home", "link": reverse("admin:index"), "active": _is_home(request)}]}
    if Permission.VIEW not in standing(request):
        return [home]
    closed = set() if Permission.READ_AUDIT in standing(request) else {"audit_event"}
    health = reverse("console:health")
    home["items"].append({"title": "Health", "icon": "monitor_heart", "link": health, "active": request.path == health})
    groups = [home, *(_group(title, tuple(page for page in pages if page[2] not in closed)) for title, pages in RIVER)]
    if getattr(request.user, "is_superuser", False):
        groups.append(_group("Operation", OPERATION))
    return groups


def _is_home(request: HttpRequest) -> bool:
    return request.path == reverse("admin:index")


def _group(title: str, pages: tuple[tuple[str, str, str], ...]) -> dict[str, Any]:
    items = [{"title": name, "icon": icon, "link": reverse(f"admin:{model}_changelist")} for name, icon, model in pages]
    return {
        "title": title,
        "separator": True,
        "collapsible": title in {"Ground", "People", "Operation"},
        "items": items,
    }
