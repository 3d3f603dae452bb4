import gc
import threading

import django_rq
import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from accounts.acting import MACHINE, acting, current
from accounts.exceptions import DomainError
from accounts.models import Membership, Team, User
from accounts.roles import Role
from jobs import tasks as jobs_tasks
from jobs.models import Beat, Task
from jobs.reconciler import forget_finished, reconcile
from jobs.schedule import beat_age_s, run_scheduled
from jobs.tasks import MAX_ATTEMPTS, enqueue, job, others_wait, run_task

SEEN = []


@job(queue="default", timeout_s=30)
def note(*words):
    """Remember the words and who asked."""
    SEEN.append((*words, current().actor.name, current().reason))


@job(queue="default", timeout_s=30)
def crash():
    """Crash."""
    raise RuntimeError("no luck")


@job(queue="default", timeout_s=30)
def refuse():
    """Refuse."""
    raise DomainError("not today")


@job(queue="default", timeout_s=30)
def count_teams():
    """Remember how many teams there are."""
    SEEN.append(f"{Team.objects.count()} teams")


@job(queue="default", timeout_s=30)
def play_turns(name, number):
    """Play a turn and queue anew behind the others while turns are left."""
    SEEN.append(f"{name}{number}")
    if number > 1:
        enqueue(play_turns, name, number - 1, key=name)
        RUNG.append(django_rq.get_queue("default").count)


RUNG = []


@pytest.fixture(autouse=True)
def _clean():
    SEEN.clear()
    django_rq.get_connection().flushdb()
    yield
    django_rq.get_connection().flushdb()


def work():
    """Let one worker empty the queue."""
    SimpleWorker(
        [django_rq.get_queue("default")], serializer=JSONSerializer, connection=django_rq.get_connection()
    ).work(burst=True, logging_level="ERROR")


@pytest.mark.django_db(transaction=True)
def test_enqueue__committed__runs_as_the_actor_who_asked(cast):
    with acting(cast.engineer.as_actor(), reason="wanted it"), transaction.atomic():
        enqueue(note, "hello")

    work()

    assert SEEN == [("hello", "engineer", "wanted it")]
    assert Task.objects.get().state == Task.State.DONE


@pytest.mark.django_db(transaction=True)
def test_ring__many_times__opens_no_more_connections():
    enqueue(note, "first")
    server = django_rq.get_connection()
    before = server.info("clients")["connected_clients"]
    gc.disable()  # what only a collection would close, a busy process keeps open
    try:
        for number in range(30):
            enqueue(note, str(number))
        after = server.info("clients")["connected_clients"]
    finally:
        gc.enable()

    assert after - before < 10


@pytest.mark.django_db(transaction=True)
def test_enqueue__rolled_back__leaves_neither_row_nor_ring():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        enqueue(note, "never")
        raise ZeroDivisionError

    assert not Task.objects.exists()
    assert django_rq.get_queue("default").count == 0


@pytest.mark.django_db(transaction=True)
def test_enqueue__same_key_while_waiting__adds_nothing():
    for _ in range(5):
        enqueue(note, "once", key="k")

    work()

    assert len(SEEN) == 1


@pytest.mark.django_db(transaction=True)
def test_enqueue__same_key_while_waiting__runs_after_the_second_transaction():
    enqueue(count_teams, key="k")
    task_id, inside, may_commit = str(Task.objects.get().pk), threading.Event(), threading.Event()

    def second():
        with transaction.atomic():
            Team(slug="late", name="Late").save()
            enqueue(count_teams, key="k")
            inside.set()
            may_commit.wait(20)
        connection.close()

    def worker():
        run_task(task_id)
        connection.close()

    threads = [threading.Thread(target=second), threading.Thread(target=worker)]
    threads[0].start()
    assert inside.wait(20)
    threads[1].start()
    threads[1].join(1)
    may_commit.set()
    for thread in threads:
        thread.join(20)
    work()

    assert SEEN[-1] == "1 teams"
    assert Task.objects.get().state == Task.State.DONE


@pytest.mark.django_db(transaction=True)
def test_enqueue__same_key_as_a_claimed_task__waits_beside_it():
    enqueue(note, "first", key="k")
    Task.objects.get().claim(lease_s=20)

    enqueue(note, "second", key="k")

    assert sorted(Task.objects.values_list("state", flat=True)) == ["claimed", "ready"]


@pytest.mark.django_db(transaction=True)
def test_enqueue__no_key__adds_a_task_each_time():
    enqueue(note, "one")
    enqueue(note, "two")

    assert Task.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_enqueue__from_within_the_job_itself__queues_behind_the_others_and_is_rung_at_its_end():
    for name in "abc":
        enqueue(play_turns, name, 3, key=name)
    RUNG.clear()

    work()

    assert SEEN == ["a3", "b3", "c3", "a2", "b2", "c2", "a1", "b1", "c1"]
    assert RUNG[0] == 2  # a's own ring came only when a had ended
    assert set(Task.objects.values_list("state", "attempts")) == {("done", 1)}


@pytest.mark.django_db(transaction=True)
def test_enqueue__worker_dies_after_the_job_put_itself_down__is_found_by_the_reconciler():
    enqueue(play_turns, "a", 1, key="a")
    held = Task.objects.get()
    held.claim(lease_s=-1)
    Task(name=held.name, key="a", arguments=["a", 1], queue="default").put_down()
    django_rq.get_connection().flushdb()

    reconcile()
    Task.objects.filter(state="ready").update(available_at=timezone.now() - timezone.timedelta(seconds=60))
    reconcile()
    work()

    assert SEEN == ["a1"]
    assert set(Task.objects.values_list("state", flat=True)) == {"done"}


@pytest.mark.django_db(transaction=True)
def test_others_wait__own_task_or_another_queue__do_not_count():
    enqueue(play_turns, "a", 1, key="a")
    Task.objects.create(name="x", key="elsewhere", queue="runs")

    assert not others_wait(play_turns, key="a")
    assert others_wait(play_turns, key="b")


@pytest.mark.parametrize("attempts", [1, MAX_ATTEMPTS])
@pytest.mark.django_db(transaction=True)
def test_reconcile__lease_renewed_after_the_reconciler_looked__leaves_the_task_to_its_worker(attempts):
    enqueue(note, "slow")
    task = Task.objects.get()
    task.claim(lease_s=-1)
    Task.objects.update(attempts=attempts)
    task.refresh_from_db()
    seen = Task.objects.abandoned().get()

    assert task.renew(20)
    seen.put_back(error="its worker died", after_s=0, if_abandoned=True)
    seen.finish(error="its worker died", if_abandoned=True)

    task.refresh_from_db()
    assert task.state == Task.State.CLAIMED


@pytest.mark.django_db(transaction=True)
def test_reconcile__valkey_lost_everything__rings_again():
    enqueue(note, "kept")
    django_rq.get_connection().flushdb()
    Task.objects.update(available_at=timezone.now() - timezone.timedelta(seconds=60))

    work()
    assert SEEN == []
    reconcile()
    work()

    assert len(SEEN) == 1


@pytest.mark.django_db(transaction=True)
def test_reconcile__worker_died_holding_the_lease__gives_the_task_to_another():
    enqueue(note, "again")
    task = Task.objects.get()
    task.claim(lease_s=-1)
    django_rq.get_connection().flushdb()

    reconcile()
    Task.objects.update(available_at=timezone.now() - timezone.timedelta(seconds=60))
    reconcile()
    work()

    assert len(SEEN) == 1
    assert Task.objects.get().attempts == 2


@pytest.mark.django_db(transaction=True)
def test_run_task__twice__runs_once():
    enqueue(note, "one")
    task_id = str(Task.objects.get().pk)

    run_task(task_id)
    run_task(task_id)

    assert len(SEEN) == 1


@pytest.mark.django_db(transaction=True)
def test_run_task__crash__is_put_back_until_it_gives_up():
    enqueue(crash)
    task = Task.objects.get()

    for _ in range(MAX_ATTEMPTS):
        Task.objects.update(available_at=timezone.now() - timezone.timedelta(seconds=1))
        run_task(str(task.pk))

    task.refresh_from_db()
    assert (task.state, task.attempts) == (Task.State.FAILED, MAX_ATTEMPTS)
    assert task.last_error == "RuntimeError: no luck"


@pytest.mark.django_db(transaction=True)
def test_run_task__refusal__is_final_and_says_why():
    enqueue(refuse)

    run_task(str(Task.objects.get().pk))

    task = Task.objects.get()
    assert (task.state, task.last_error) == (Task.State.FAILED, "refused: not today")


@pytest.mark.django_db(transaction=True)
def test_claim__two_workers_at_once__one_wins():
    enqueue(note, "raced")
    task_id = Task.objects.get().pk
    won = []

    def take():
        won.append(jobs_tasks._claim(Task.objects.get(pk=task_id)))
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won) == [False, False, False, True]


@pytest.mark.django_db(transaction=True)
def test_forget_finished__old_success__goes_and_failures_stay():
    enqueue(note, "old")
    enqueue(refuse)
    work()
    Task.objects.update(finished_at=timezone.now() - timezone.timedelta(days=1))

    assert forget_finished() == 1
    assert Task.objects.get().state == Task.State.FAILED


TICKS = []


def tick():
    TICKS.append(timezone.now())


@pytest.mark.django_db(transaction=True)
def test_run_scheduled__rung_twice_within_its_interval__runs_once(settings):
    settings.SCHEDULE = [("tests.jobs.test_tasks.tick", 60)]
    TICKS.clear()

    run_scheduled("tests.jobs.test_tasks.tick")
    run_scheduled("tests.jobs.test_tasks.tick")

    assert len(TICKS) == 1
    assert beat_age_s("tests.jobs.test_tasks.tick") < 30


@pytest.mark.django_db(transaction=True)
def test_run_scheduled__crash__is_remembered_and_does_not_stop_the_clock(settings):
    settings.SCHEDULE = [("tests.jobs.test_tasks.crash", 60)]

    run_scheduled("tests.jobs.test_tasks.crash")

    assert Beat.objects.get().last_error == "RuntimeError: no luck"


def test_beats__failed__show_the_kind_of_error_and_to_operators_what_it_said(cast):
    Beat.objects.create(name="x", started_at=timezone.now(), last_error="DataError: of a row of any team")
    operator = User.objects.create_superuser("operator", password="correct horse")
    with acting(MACHINE, reason="works here"):
        Membership(user=operator, team=cast.team, role=Role.SUPPORT).save()
    shown = {}
    for person in (cast.support, operator):
        browser = Client()
        browser.force_login(person)
        shown[person.username] = "".join(
            browser.get(path).content.decode() for path in ("/admin/jobs/beat/", "/admin/jobs/beat/x/change/")
        )

    assert "DataError" in shown["support"]
    assert "of a row" not in shown["support"]
    assert "of a row" in shown["operator"]
