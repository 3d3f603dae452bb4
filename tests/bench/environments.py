"""Builds Python environments outside the lock, for programs that know nothing of this project."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["BENCHES", "ROOT", "built", "install", "made", "surroundings", "wheel"]

ROOT = Path(__file__).resolve().parents[2]
BENCHES = ROOT / ".whetstone" / "bench"
_TIMEOUT_S = 600
# What would lead a foreign program back into this project, or past the servers on this machine.
_OURS = ("PYTHONSAFEPATH", "PYTHONPATH", "DJANGO_SETTINGS_MODULE", "DATABASE_URL", "REDIS_URL", "SECRET_KEY")
_TELLING = ("OTEL_", "OPENAI_", "LANGFUSE_", "TRACELOOP_", "LOGFIRE_", "WHETSTONE_")


def built(name: str, requirements: Path) -> Path:
    """Return the Python of the environment `name`, built anew only when its requirements have changed."""
    folder = BENCHES / name
    stamp, digest = folder / "requirements.sha256", hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return folder / "bin" / "python"
    python = made(folder)
    install(python, "--requirements", str(requirements))
    stamp.write_text(digest)
    return python


def made(folder: Path) -> Path:
    """Make an empty environment in `folder`, in place of what is there; return its Python."""
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--python", str(ROOT / ".venv" / "bin" / "python"), str(folder))
    return folder / "bin" / "python"


def install(python: Path, *arguments: str, cache: str | None = None) -> None:
    """Install into an environment; the arguments are those of `uv pip install`, `cache` a folder in place of uv's own."""
    _uv(*(("--cache-dir", cache) if cache else ()), "pip", "install", "--python", str(python), *arguments)


def wheel(project: Path, folder: Path) -> Path:
    """Build the distribution of a project with this environment's tools; return its file."""
    python = str(ROOT / ".venv" / "bin" / "python")
    _uv("build", "--wheel", "--no-build-isolation", "--python", python, "--out-dir", str(folder), str(project))
    (file,) = folder.glob("*.whl")
    return file


def surroundings(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process' environment without what is the project's own or would instruct an SDK, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS and not name.startswith(_TELLING)}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | more


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv") or str(ROOT / ".whetstone" / "tools" / "uv" / "bin" / "uv")
    # The project's own settings for uv would not fit a foreign environment.
    subprocess.run([uv, "-q", "--no-config", *arguments], check=True, timeout=_TIMEOUT_S, cwd=BENCHES.parent)
