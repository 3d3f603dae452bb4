"""The embedded servers on the command line: `manage.py embedded status|start|stop`."""

import argparse
import sys
from pathlib import Path

from config.embedded.client import ensure, status, stop
from config.embedded.exceptions import EmbeddedError

__all__ = ["add_arguments", "main", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("action", choices=["status", "start", "stop"])
    parser.add_argument("--root", type=Path, help="state directory, by default .whetstone/ of this checkout")


def main(arguments: list[str]) -> int:
    """Run the command without Django and return its exit status."""
    parser = argparse.ArgumentParser(prog="manage.py embedded", description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(run(options.action, root=options.root) + "\n")
    except EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def run(action: str, *, root: Path | None) -> str:
    """Carry out `status`, `start` or `stop` and return what to tell the person."""
    match action:
        case "start":
            endpoints = ensure(root=root)
            # In the form that `env` and `export` take.
            return f"DATABASE_URL={endpoints.database_url}\nREDIS_URL={endpoints.redis_url}"
        case "stop":
            return "Stopped." if stop(root=root) else "Nothing was running."
        case _:
            return _describe(root)


def _describe(root: Path | None) -> str:
    seen = status(root=root)
    if seen is None:
        return "Nothing is running."
    lines = [f"supervisor  running   process {seen['supervisor']}"]
    for name, server in seen["servers"].items():
        process = f"process {server['pid']}" if server["pid"] else server["error"]
        lines.append(f"{name:<11} {server['state']:<9} {process}".rstrip())
    return "\n".join(lines)
