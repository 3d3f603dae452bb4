import time
from datetime import timedelta

import django_rq
import pytest
from django.utils import timezone

from evals.freezing import begin_run
from evals.jobs import play_run
from evals.models import Result
from jobs.models import Task
from jobs.reconciler import reconcile
from jobs.tasks import enqueue
from proposals.models import Proposal

pytestmark = [pytest.mark.story, pytest.mark.django_db(transaction=True)]


def wait_until(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def an_hour_later():
    """Let the lease of a dead worker and the patience of the reconciler run out."""
    Task.objects.filter(state="claimed").update(lease_until=timezone.now() - timedelta(hours=1))
    reconcile()
    Task.objects.filter(state="ready").update(available_at=timezone.now() - timedelta(hours=1))
    reconcile()


def test_run__worker_killed_and_valkey_emptied_in_the_middle__is_finished_once(
    curated_benchmark, submit, endpoint, start_worker
):
    run = begin_run(submit())
    enqueue(play_run, str(run.pk), key=str(run.pk))
    endpoint.delay_s, asked_before = 0.02, len(endpoint.asked)
    first = start_worker("runs")
    wait_until(lambda: run.results.count() >= 80)

    first.kill()
    first.wait()
    django_rq.get_connection().flushdb()
    stored = run.results.count()
    an_hour_later()
    start_worker("runs")
    wait_until(lambda: Proposal.objects.get().status != "validating")

    run.refresh_from_db()
    assert 0 < stored < run.num_planned
    assert (run.status, run.verdict) == ("judged", "pass"), run.reading
    assert run.results.count() == run.num_planned
    played = set(Result.objects.filter(run=run).values_list("run_case_id", "arm", "trial"))
    assert len(played) == run.num_planned
    # At most the trials in flight when the worker died were asked for again.
    assert len(endpoint.asked) - asked_before <= run.num_planned + run.as_playing().concurrency
    assert Task.objects.get(name="evals.jobs.play_run").attempts == 2
    assert Task.objects.get(name="evals.jobs.play_run").state == "done"
