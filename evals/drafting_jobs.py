"""Jobs of drafting: couriers between the queue and the round."""

from accounts.acting import MACHINE
from accounts.exceptions import DomainError
from evals.drafting_cases import draft_cases
from evals.labeling import label_by_corrections
from evals.models import DraftRound
from jobs.tasks import job

__all__ = ["draft_round", "label_drafts"]


@job(queue="embedding", timeout_s=900)
def draft_round(round_id: str) -> None:
    """Propose the drafts of a round. A repeat finds the round finished, or nothing written, and begins anew."""
    row = DraftRound.objects.select_related("benchmark__agent__stable", "benchmark__agent__policy", "intent").get(
        pk=round_id
    )
    try:
        draft_cases(row)
    except DomainError as refusal:
        row.finish(f"Refused: {refusal}")
        raise


def label_drafts() -> None:
    """Give drafts what corrections written since say of their episodes. A repeat finds them labelled."""
    label_by_corrections(by=MACHINE)
