"""Under which account the servers run, and how a child gives root up.

PostgreSQL refuses to run as root. Root therefore starts both servers as an unprivileged account that every system
has; anyone else starts them as themselves. Where that account may not pass a directory on the way (a checkout below
root's home, say), the child keeps one Linux capability, to pass and read; nobody's directories change their permissions.
"""

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config.embedded.exceptions import EmbeddedError
from config.embedded.layout import Layout

__all__ = ["Account", "child_setup", "server_account"]

# linux/prctl.h, linux/securebits.h and linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_GET_SECUREBITS = 27
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2


@dataclass(frozen=True)
class Account:
    """The user and group a server runs as."""

    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make `path` belong to this account; a no-op for whoever is not root."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)

    def may_pass(self, path: Path) -> bool:
        """Tell whether every directory above `path` lets this account through."""
        return all(self._may_search(parent.stat()) for parent in path.parents)

    def _may_search(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        return bool(status.st_mode & (0o010 if status.st_gid == self.gid else 0o001))


def server_account(layout: Layout) -> Account:
    """Return the account for the servers: ourselves, or, for root, the owner of the existing data, else `nobody`.

    Raise `EmbeddedError` where the data belong to another user, or where root finds no account to use.
    """
    data = next((data for data in (layout.postgres, layout.valkey) if data.exists()), None)
    owner = data.stat() if data else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise EmbeddedError(
                f"Cannot use {str(data)!r}: it belongs to user {owner.st_uid}, not to you ({os.geteuid()}). "
                "Run as that user or as root, remove the directory, or set DATABASE_URL and REDIS_URL."
            )
        return Account(os.geteuid(), os.getegid())
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "Cannot start the embedded servers as root: PostgreSQL refuses root and there is no user 'nobody'. "
            "Run as another user, or set DATABASE_URL and REDIS_URL."
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def child_setup(account: Account, *, paths: list[Path], last_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child does between fork and exec so that it runs as `account`.

    On Linux the child receives `last_signal` when the thread that started it dies, however it dies. `paths` are those
    the child must reach.
    """
    capability = None
    if os.geteuid() == 0 and sys.platform == "linux" and not all(account.may_pass(path) for path in paths):
        capability = _passing_capability()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    return partial(_become, account, libc, capability, last_signal)


def _passing_capability() -> int:
    """Return the weakest capability we hold that passes closed directories; containers often lack the weaker one."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    held = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    return _CAP_DAC_READ_SEARCH if held >> _CAP_DAC_READ_SEARCH & 1 else _CAP_DAC_OVERRIDE


def _become(account: Account, libc: ctypes.CDLL | None, capability: int | None, last_signal: signal.Signals) -> None:
    if os.geteuid() == 0 and account.uid != 0:
        if libc is not None and capability is not None:
            libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
            # Without it access(2), by which initdb looks for its own programs, leaves capabilities out of account.
            libc.prctl(
                _PR_SET_SECUREBITS, libc.prctl(_PR_GET_SECUREBITS, 0, 0, 0, 0) | _SECBIT_NO_SETUID_FIXUP, 0, 0, 0
            )
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
        if libc is not None and capability is not None:
            _keep(libc, capability)
    if libc is not None:
        # After the change of user, which clears it.
        libc.prctl(_PR_SET_PDEATHSIG, int(last_signal), 0, 0, 0)
    os.umask(0o077)


def _keep(libc: ctypes.CDLL, capability: int) -> None:
    """Carry one capability over the exec: permitted, effective, inheritable, then ambient."""
    bit = 1 << capability
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    libc.capset(header, sets)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
