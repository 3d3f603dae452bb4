"""Addresses of the rows behind each number of a run's page."""

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from evals.models import Run

__all__ = ["case_rows", "gate_rows", "result_rows"]


def result_rows(run: Run, **wanted: Any) -> str:
    """Return the list of the run's results narrowed by field, e.g. `arm="baseline"` or `run_case__is_target=1`.

    `paired=1` leaves those of whole pairs: both arms answered.
    """
    given = {"run__id__exact": run.pk} | {
        name if name == "paired" else f"{name}__exact": value for name, value in wanted.items()
    }
    return f"{reverse('admin:evals_result_changelist')}?{urlencode(given)}"


def case_rows(run: Run, **wanted: Any) -> str:
    """Return the page of the run's cases narrowed by part, split, intent, outcome or trouble."""
    given = {name: value for name, value in wanted.items() if value is not None}
    address = reverse("admin:evals_run_cases", args=(run.pk,))
    return f"{address}?{urlencode(given)}" if given else address


def gate_rows(run: Run, gate: str) -> str:
    """Return where the rows are that the named gate counted; empty where it counted none of a run."""
    match gate:
        case "target":
            return case_rows(run, part="target", split="verify")
        case "protected":
            return case_rows(run, part="protected", split="verify")
        case "latency" | "cost":
            return result_rows(run, run_case__is_protected=1, run_case__split="verify", paired=1)
        case "slices" | "coverage" | "effect" | "escalation":
            return case_rows(run, split="verify")
        case "holdout" | "leakage":
            return case_rows(run, split="holdout")
        case "safety":
            return case_rows(run, trouble="violations")
        case "crashes":
            return result_rows(run, crashed=1)
        case "infrastructure":
            return result_rows(run, dropped=1)
        case "static" if run.proposal_id:
            return reverse("admin:proposals_proposal_change", args=(run.proposal_id,))
        case "false_discovery":
            tried = {"agent__id__exact": run.agent_id, "benchmark__id__exact": run.benchmark_id}
            return f"{reverse('admin:evals_run_changelist')}?{urlencode(tried)}"
        case _:
            return ""
