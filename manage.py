#!/usr/bin/env python3
"""Django's command line; the servers it needs are started by the way."""

import os
import sys
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parent / ".venv"


def main() -> None:
    """Run one management command, in this checkout's environment whichever Python was called."""
    python = ENVIRONMENT / "bin" / "python"
    if python.exists() and not ENVIRONMENT.samefile(sys.prefix):
        os.environ.pop("PYTHONHOME", None)
        os.execv(python, [str(python), *sys.argv])  # noqa: S606 - our own interpreter, our own arguments
    # Imports wait for the right interpreter.
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    from config.embedded.commands import main as embedded  # noqa: PLC0415

    if sys.argv[1:2] == ["embedded"]:
        # Reading the settings starts the servers, which is not what `stop` and `status` are about.
        sys.exit(embedded(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
