"""`manage.py serve`: the whole platform on this machine, until Ctrl-C."""

import os
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from jobs.processes import Processes, platform_programs

__all__ = ["Command"]


class Command(BaseCommand):
    """Migrate, then run web, workers and clock side by side."""

    help = "Run web, workers and clock on this machine until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        done = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: done.set())
        programs = platform_programs(host=options["host"], port=options["port"])
        with Processes(programs, logs=settings.BASE_DIR / ".whetstone" / "log"):
            self.stdout.write(f"Whetstone serves http://{options['host']}:{options['port']}/admin/ (Ctrl-C ends it).")
            done.wait()
