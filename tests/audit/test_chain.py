import subprocess
import sys
from io import StringIO
from itertools import pairwise

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from accounts.acting import MACHINE, acting
from accounts.models import Membership, User
from accounts.roles import Role
from audit.chain import GENESIS, Finding, link, merkle_root, seal_events, status, verify_chain, verify_head
from audit.jobs import note_head
from audit.models import Event, Seal
from audit.record import record
from tests.conftest import make_agent


@pytest.fixture
def chain(db):
    """Twelve sealed events."""
    for number in range(12):
        record("thing.done", f"thing:{number}", reason="because", facts={"number": number})
    seal_events()


def triggers(switch):
    with connection.cursor() as cursor:
        for table in ("audit_event", "audit_seal"):
            cursor.execute(f"ALTER TABLE {table} {switch} TRIGGER USER")


def tamper(sql):
    """What a superuser can do: switch the triggers off, change a row, switch them on again."""
    triggers("DISABLE")
    with connection.cursor() as cursor:
        cursor.execute(sql)
    triggers("ENABLE")


def test_seal__events__get_gap_free_numbers_and_linked_hashes(chain):
    seals = list(Seal.objects.order_by("seq"))

    assert [seal.seq for seal in seals] == list(range(1, 13))
    assert seals[0].previous_hash == GENESIS
    assert all(later.previous_hash == earlier.hash for earlier, later in pairwise(seals))
    assert all(link(seal.previous_hash, seal.event.as_sealed()) == seal.hash for seal in seals)
    assert list(verify_chain()) == []


def test_seal__twice__seals_nothing_again(chain):
    assert seal_events() == 0
    assert status().sealed == 12


def test_status__unsealed_tail__is_reported(chain):
    record("thing.late", "thing:13")

    assert (status().sealed, status().unsealed) == (12, 1)


@pytest.mark.parametrize(
    ("sql", "seq", "words"),
    [
        ("UPDATE audit_event SET reason='other' WHERE object_ref='thing:4'", 5, "changed after sealing"),
        ("DELETE FROM audit_event WHERE object_ref='thing:7'", 8, "missing"),
        ("UPDATE audit_seal SET hash=repeat('0',64) WHERE seq=3", 3, "changed after sealing"),
        ("DELETE FROM audit_seal WHERE seq=6", 7, "sequence jumps"),
        ("UPDATE audit_event SET at=at - interval '1 day' WHERE object_ref='thing:0'", 1, "changed after sealing"),
    ],
)
def test_verify_audit__tampered_row__is_named_by_its_number(chain, sql, seq, words):
    tamper(sql)

    findings = list(verify_chain())

    assert findings[0].seq == seq
    assert words in findings[0].problem
    with pytest.raises(CommandError, match=f"sequence {seq} "):
        call_command("verify_audit", stderr=StringIO())


def test_verify_audit__whole_chain__says_so(chain):
    out = StringIO()

    call_command("verify_audit", stdout=out)

    assert "The record holds: 12 events sealed" in out.getvalue()


@pytest.mark.parametrize("statement", ["UPDATE {} SET {}", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize(("table", "change"), [("audit_event", "reason='x'"), ("audit_seal", "hash='x'")])
def test_record__changed_by_sql__is_refused_by_the_database(chain, statement, table, change):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL whetstone.test_flush = 'off'")
        with pytest.raises(DatabaseError, match="refused"), transaction.atomic():
            cursor.execute(statement.format(table, change))


def test_record__rolled_back_act__leaves_no_event(db):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        record("thing.never", "thing:1", actor=MACHINE)
        raise ZeroDivisionError

    assert not Event.objects.exists()


def test_merkle_root__one_leaf_changed__changes_the_root():
    leaves = [bytes([n]) for n in range(7)]

    assert merkle_root(leaves) != merkle_root([*leaves[:3], b"x", *leaves[4:]])
    assert merkle_root([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_platform__standard_library__is_not_shadowed():
    """The folder `platform/` must never become the module `platform`."""
    code = "import platform, sysconfig; print(platform.__spec__.origin.startswith(sysconfig.get_paths()['stdlib']))"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "True"


def cut_off(number):
    """What a superuser can do to a chain that links backwards only: take its newest events away with their seals."""
    last = Seal.objects.order_by("-seq")[number].seq
    tamper(
        f"DELETE FROM audit_event WHERE id IN (SELECT event_id FROM audit_seal WHERE seq > {last});"
        f"DELETE FROM audit_seal WHERE seq > {last}"
    )


def test_verify__end_cut_off__is_noticed_by_the_head_that_was_noted(chain, caplog):
    caplog.set_level("INFO", "audit")
    note_head()
    noted = next(record.head for record in caplog.records if record.message == "chain.head")
    call_command("verify_audit", "--head", noted, stdout=StringIO())

    cut_off(3)

    call_command("verify_audit", stdout=StringIO())
    with pytest.raises(CommandError, match="does not hold at sequence 12"):
        call_command("verify_audit", "--head", noted, stderr=StringIO())


def test_verify__chain_written_anew__has_another_hash_under_the_number(chain):
    assert [finding.seq for finding in verify_head(12, "0" * 64)] == [12]
    assert list(verify_head(12, status().head)) == []


@pytest.mark.parametrize("head", ["12", "x:" + "0" * 64, "12:abc"])
def test_verify__malformed_head__is_refused(chain, head):
    with pytest.raises(CommandError, match="is no head"):
        call_command("verify_audit", "--head", head)


def elsewhere():
    """What an app could find."""
    yield Finding(None, "a row differs from what the record says of it")


def test_verify__function_of_another_app__is_asked_too(chain, settings):
    settings.AUDIT_VERIFICATIONS = ["tests.audit.test_chain.elsewhere"]
    errors = StringIO()

    with pytest.raises(CommandError, match="1 findings"):
        call_command("verify_audit", stderr=errors)

    assert "a row differs" in errors.getvalue()


def test_as_sealed__event_of_no_agent__has_the_form_it_had_before_events_named_agents(db):
    event = record("thing.done", "thing:1")

    assert "agent_id" not in event.as_sealed()


def test_record__row_of_an_agent__names_it(agent):
    event = Event.objects.filter(action="agent.bootstrap").get()

    assert event.agent_id == agent.pk
    assert event.as_sealed()["agent_id"] == str(agent.pk)


def test_events__of_another_agent_of_the_team__are_hidden_from_a_member_of_one(cast, agent):
    second = make_agent(cast.team, cast.administrator, "payroll-desk")
    second.freeze(by=MACHINE, reason="salaries leak")
    agent.freeze(by=MACHINE, reason="a test")
    guest = User.objects.create_user("guest", password="correct horse", is_staff=True)
    with acting(MACHINE, reason="one agent only"):
        Membership(user=guest, team=cast.team, agent_id=agent.pk, role=Role.AUDITOR).save()

    seen = Event.objects.visible_to(guest.as_actor())

    assert {event.agent_id for event in seen} == {agent.pk}
    assert seen.filter(action="agent.freeze").count() == 1
    assert Event.objects.visible_to(cast.support.as_actor()).filter(action="agent.freeze").count() == 2


def test_record__as_a_list__is_for_those_who_may_read_it(cast, agent):
    event = Event.objects.filter(action="agent.bootstrap").get()
    pages = {}
    for person in (cast.support, cast.auditor):
        browser = Client()
        browser.force_login(person)
        pages[person.username] = [
            browser.get(path).status_code for path in ("/admin/audit/event/", f"/admin/audit/event/{event.pk}/change/")
        ]

    assert pages == {"support": [403, 200], "auditor": [200, 200]}
    assert Event.objects.listed_for(cast.support.as_actor()).count() == 0
    assert Event.objects.listed_for(cast.auditor.as_actor()).filter(pk=event.pk).exists()
