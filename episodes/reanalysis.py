"""Once more for what could not be analyzed."""

from collections.abc import Iterable

from django.db import transaction

from accounts.acting import Actor
from audit.record import record
from episodes.jobs import understand
from episodes.models import Episode
from jobs.tasks import enqueue

__all__ = ["analyze_again"]


@transaction.atomic
def analyze_again(episodes: Iterable[Episode], *, by: Actor, reason: str) -> int:
    """Let episodes whose analysis failed wait for it again; return how many did. Others are left alone."""
    keys = [episode.pk for episode in episodes]
    failed = Episode.objects.filter(pk__in=keys).not_analyzed().select_related("agent").order_by("id")
    rows = list(failed.select_for_update(of=("self",), no_key=True))
    Episode.objects.filter(pk__in=[row.pk for row in rows]).update(analysis_failed_at=None, analysis_error="")
    for row in rows:
        facts = {"failed_with": row.analysis_error}
        record("episode.analyze_again", row, actor=by, reason=reason, team_id=row.agent.team_id, facts=facts)
    for agent_id in {row.agent_id for row in rows}:
        enqueue(understand, str(agent_id), key=str(agent_id))
    return len(rows)
