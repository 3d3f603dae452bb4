import subprocess
import sys
from io import StringIO
from itertools import pairwise

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from accounts.acting import MACHINE
from audit.chain import GENESIS, link, merkle_root, seal_events, status, verify_chain
from audit.models import Event, Seal
from audit.record import record


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
