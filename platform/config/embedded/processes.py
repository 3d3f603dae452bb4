"""What is known of a process by its id, which another process may have taken over since."""

import os
import subprocess
from pathlib import Path

__all__ = ["exists", "read_pid", "runs"]


def read_pid(file: Path) -> int | None:
    """Return the process id on the first line of `file`, or None when there is none."""
    try:
        return int(file.read_text(encoding="utf-8").splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def exists(pid: int) -> bool:
    """Tell whether any process has this id now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def runs(pid: int, *, program: str, argument: Path) -> bool:
    """Tell whether `pid` lives and is `program` called with `argument`; a reused id is not."""
    words = _command_line(pid)
    return bool(words) and Path(words[0]).name == program and str(argument) in words[1:]


def _command_line(pid: int) -> list[str]:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        if Path("/proc/self").is_dir():
            return []
        answer = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return answer.stdout.split()
    return [os.fsdecode(word) for word in raw.split(b"\0") if word]
