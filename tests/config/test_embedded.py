"""The embedded servers as their users see them."""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from config.embedded import EmbeddedError, database_settings, ensure, redis_url, status, stop
from config.embedded.commands import main
from config.embedded.layout import Layout
from config.embedded.privileges import Account, child_setup
from tests.config.servers import ask_valkey, postmasters, query, seen, until

ENSURE = """
import json, sys
from pathlib import Path
from config.embedded import ensure, status
endpoints = ensure(root=Path(sys.argv[1]))
print(json.dumps([endpoints.database_url, endpoints.redis_url, status(root=Path(sys.argv[1]))["supervisor"]]))
"""


def test_ensure__nothing_runs__gives_a_database_with_vectors_and_a_store(fresh_root: Path) -> None:
    endpoints = ensure(root=fresh_root)

    query(endpoints, "CREATE EXTENSION vector")
    assert query(endpoints, "SELECT '[1,2]'::vector <-> '[1,4]'::vector") == [(2.0,)]
    assert query(endpoints, "SHOW fsync") == [("on",)]
    assert query(endpoints, "SELECT datlocale FROM pg_database WHERE datname = current_database()") == [("C.UTF-8",)]
    assert ask_valkey(endpoints, "SET", "word", "kept") is True
    assert ask_valkey(endpoints, "CONFIG", "GET", "appendonly") == {"appendonly": "yes"}


def test_ensure__one_server_named__leaves_the_other_alone(fresh_root: Path) -> None:
    ensure("valkey", root=fresh_root)

    assert seen(fresh_root)["servers"]["postgres"]["state"] == "stopped"
    assert not (fresh_root / "postgres").exists()


def test_ensure__servers_are_up__starts_nothing(running_root: Path) -> None:
    before = json.dumps(seen(running_root)["servers"], sort_keys=True)

    ensure(root=running_root)

    assert json.dumps(seen(running_root)["servers"], sort_keys=True) == before


def test_ensure__five_processes_at_once__share_one_supervisor(fresh_root: Path) -> None:
    command = [sys.executable, "-c", ENSURE, str(fresh_root)]

    callers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    answers = [json.loads(caller.communicate(timeout=60)[0]) for caller in callers]

    assert len({tuple(answer) for answer in answers}) == 1
    assert len(postmasters(fresh_root)) == 2


def test_ensure__two_checkouts__do_not_know_each_other(running_root: Path, fresh_root: Path) -> None:
    ours, theirs = ensure(root=running_root), ensure(root=fresh_root)
    query(ours, "CREATE TABLE IF NOT EXISTS only_ours ()")

    assert query(theirs, "SELECT to_regclass('only_ours')") == [(None,)]
    assert stop(root=fresh_root)
    assert status(root=fresh_root) is None
    assert query(ours, "SELECT to_regclass('only_ours')::text") == [("only_ours",)]


def test_ensure__path_too_long_for_a_socket__goes_by_a_short_one(fresh_root: Path) -> None:
    deep = fresh_root / ("a-very-long-name-of-a-checkout-" * 4)

    endpoints = ensure(root=deep)

    assert query(endpoints, "SELECT 1") == [(1,)]
    assert ask_valkey(endpoints, "PING")
    assert stop(root=deep)
    assert ensure("postgres", root=deep).database_url == endpoints.database_url
    assert stop(root=deep)
    shutil.rmtree(Layout.of(deep).sockets)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_ensure__not_root__runs_as_oneself(fresh_root: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    user = Account(nobody.pw_uid, nobody.pw_gid)
    # Root's own Python may lie where others cannot pass; but for that the caller is like anybody.
    become = child_setup(user, paths=[Path(sys.executable).resolve(), Path(__file__)], last_signal=signal.SIGTERM)
    fresh_root.chmod(0o755)
    home = fresh_root / "home"
    home.mkdir()
    user.give(home)

    outcome = subprocess.run(
        [sys.executable, "-c", ENSURE, str(home / "state")],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath},
        preexec_fn=become,
    )

    assert outcome.stderr == ""
    database, _, supervisor = json.loads(outcome.stdout)
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in (supervisor, *postmasters(home / "state"))} == {user.uid}
    # Root may use what another user runs.
    assert ensure(root=home / "state").database_url == database
    assert stop(root=home / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_child__directories_closed_to_its_account__passes_them(fresh_root: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    program = fresh_root / "closed" / "program"
    program.parent.mkdir(mode=0o700)
    program.write_text("#!/bin/sh\nid -u\n")
    program.chmod(0o755)
    account = Account(nobody.pw_uid, nobody.pw_gid)

    outcome = subprocess.run(
        ["/bin/sh", "-c", '[ -x "$0" ] && "$0"', str(program)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=child_setup(account, paths=[program], last_signal=signal.SIGKILL),
    )

    assert outcome.stdout == f"{nobody.pw_uid}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_ensure__state_of_another_user__says_whose_and_what_to_do(running_root: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    become = child_setup(
        Account(nobody.pw_uid, nobody.pw_gid),
        paths=[Path(sys.executable).resolve(), running_root / "postgres"],
        last_signal=signal.SIGTERM,
    )

    outcome = subprocess.run(
        [sys.executable, "-c", ENSURE, str(running_root)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=become,
    )

    assert "another user runs them" in outcome.stderr


def test_ensure__data_of_another_release__refuses_and_starts_at_once_when_mended(fresh_root: Path) -> None:
    (fresh_root / "postgres").mkdir()
    (fresh_root / "postgres" / "PG_VERSION").write_text("17\n")

    with pytest.raises(EmbeddedError) as refusal:
        ensure("postgres", root=fresh_root)
    shutil.rmtree(fresh_root / "postgres")

    assert "PostgreSQL 17 wrote it, this is PostgreSQL 18" in str(refusal.value)
    assert "set DATABASE_URL" in str(refusal.value)
    assert query(ensure("postgres", root=fresh_root), "SELECT 1") == [(1,)]


def test_sockets__running__admit_their_owner_only(running_root: Path) -> None:
    assert stat.S_IMODE((running_root / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((running_root / "postgres").stat().st_mode) == 0o700


def test_supervisor__its_directory_is_removed__ends_with_its_servers(fresh_root: Path) -> None:
    ensure(root=fresh_root)
    supervisor = seen(fresh_root)["supervisor"]

    shutil.rmtree(fresh_root)

    assert until(lambda: not Path(f"/proc/{supervisor}").exists() and not postmasters(fresh_root))


def test_supervisor__a_client_sends_nonsense__goes_on(running_root: Path) -> None:
    layout = Layout.of(running_root)
    for line in (b"", b"\n", b"need nothing\n", b"\xff\xfe\n", b"x" * 100_000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(layout.control))
            connection.sendall(line)

    assert seen(running_root)["servers"]["postgres"]["state"] == "ready"


def test_database_settings__url_given__starts_nothing_and_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:s%40cret@db.example.org:6543/things?sslmode=require")

    assert database_settings() == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "things",
        "USER": "me",
        "PASSWORD": "s@cret",
        "HOST": "db.example.org",
        "PORT": "6543",
        "OPTIONS": {"sslmode": "require"},
    }


def test_database_settings__odd_letters_in_the_path__survive_the_address(
    running_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", ensure(root=running_root).database_url)

    assert database_settings()["HOST"] == str(running_root / "run")


def test_database_settings__another_database__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://me@db.example.org/things")

    with pytest.raises(EmbeddedError, match="set a postgresql:// address"):
        database_settings()


def test_redis_url__given__is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://cache.example.org:6379/3")

    assert redis_url() == "redis://cache.example.org:6379/3"


def test_command__start_status_stop__tell_what_they_did(fresh_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(action: str) -> str:
        assert main([action, "--root", str(fresh_root)]) == 0
        return capsys.readouterr().out

    assert told("status") == "Nothing is running.\n"
    assert re.fullmatch(r"DATABASE_URL=postgresql://\S+\nREDIS_URL=unix://\S+\n", told("start"))
    assert re.search(r"^postgres +ready +process \d+$", told("status"), re.MULTILINE)
    assert told("stop") == "Stopped.\n"
    assert told("stop") == "Nothing was running.\n"
