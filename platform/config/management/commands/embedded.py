"""`manage.py embedded`, for Django's list of commands; `manage.py` itself runs it without reading the settings."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.embedded.commands import add_arguments, run
from config.embedded.exceptions import EmbeddedError


class Command(BaseCommand):
    """Show, start or stop the embedded servers."""

    help = "Show, start or stop this checkout's embedded PostgreSQL and Valkey."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_arguments(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the action and print what it says."""
        try:
            self.stdout.write(run(options["action"], root=options["root"]))
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
