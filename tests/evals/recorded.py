"""Where recorded trajectories lie, and small ones made up for tests."""

from pathlib import Path
from typing import Any

from episodes.importing.entries import Line
from episodes.importing.files import lines_of
from evals.external.trajectories import RecordedSet, read_trajectories

__all__ = ["DATA", "needs_data", "read", "run", "small_set"]

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def needs_data(name: str) -> str:
    """Return why a test of recorded data cannot run; empty where it can."""
    return "" if (DATA / name).is_file() else f"../shared/data/{name} is not beside the repository"


def read(name: str) -> RecordedSet:
    path = DATA / name
    return read_trajectories(str(path), list(lines_of(path, on_bytes=lambda _: None, on_damage=lambda _: None)))


def run(task: int, variant: str, *, success: bool = True, **fields: Any) -> dict[str, Any]:
    """Return a tau-bench trajectory of one line."""
    messages = [{"role": "user", "content": f"Task {task}."}, {"role": "assistant", "content": "Done."}]
    return {
        "id": f"{variant}:{task}", "domain": "retail", "variant": variant, "task_key": f"retail:{task}", "trial": 0,
        "reward": float(success), "success": success, "termination": "user_stop", "messages": messages, **fields,
    }  # fmt: skip


def small_set(rows: list[dict[str, Any]], dumps: Any) -> RecordedSet:
    lines = [Line("made-up.jsonl", number, dumps(row).encode() + b"\n") for number, row in enumerate(rows, 1)]
    return read_trajectories("made-up.jsonl", lines)
