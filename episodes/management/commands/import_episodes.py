"""`manage.py import_episodes tau-bench FILE…`: recorded runs become agents, versions, episodes and outcomes."""

from argparse import ArgumentParser
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from accounts.exceptions import DomainError
from episodes.importing.loading import FORMATS, Loader, Summary
from episodes.models import Conversation, Episode, Pattern
from episodes.reviewing import review
from episodes.settling import settle_agent
from episodes.understanding import understand_waiting
from harness.models import Agent

_SHOWN_BAD_LINES = 50


class Command(BaseCommand):
    help = "Load recorded runs as agents, harness versions, conversations, episodes with all steps, and outcomes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("format", choices=sorted(FORMATS))
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument(
            "--team", default="imported", help="Slug of the team that gets the agents; made when missing."
        )
        parser.add_argument("--owner", default="", help="Username of who answers for the agents.")
        parser.add_argument(
            "--understand", action="store_true", help="Go from capture to patterns here, without a worker."
        )
        parser.add_argument("--strict", action="store_true", help="Exit with 1 when a line was skipped.")

    def handle(self, *args: Any, **options: Any) -> None:  # the signature of commands
        missing = [str(path) for path in options["files"] if not path.is_file()]
        if missing:
            raise CommandError(
                f"There is no file {', '.join(missing)}. Name files of the format {options['format']!r}."
            )
        console = Console(file=cast("IO[str]", self.stderr))
        try:
            loader = Loader(options["format"], team=options["team"], owner=options["owner"])
            with _progress(console) as progress:
                for path in options["files"]:
                    task = progress.add_task(path.name, total=path.stat().st_size)
                    loader.load(path, on_bytes=lambda n, task=task: progress.advance(task, n))  # type: ignore[misc]  # bound here
            if options["understand"]:
                self._understand(loader.summary, console)
        except DomainError as refusal:
            raise CommandError(str(refusal)) from refusal
        self._print(loader.summary)
        if options["strict"] and loader.summary.bad:
            raise CommandError(f"{len(loader.summary.bad)} lines were skipped.", returncode=1)

    def _understand(self, summary: Summary, console: Console) -> None:
        for agent in summary.agents.values():
            with console.status(f"understanding {agent.slug}"):
                understand_waiting(agent.pk)
                for conversation_id in settle_agent(agent, then=lambda _: None):
                    review(conversation_id)
                # Also what an earlier run settled and did not live to review.
                settled = Conversation.objects.filter(agent=agent, settled_at__isnull=False, resolution__in=("failed",))
                unread = settled.filter(episodes__critiques__isnull=True).order_by("id").distinct()
                for conversation_id in unread.values_list("pk", flat=True):
                    review(conversation_id)

    def _print(self, summary: Summary) -> None:
        table = Table("agent", "versions", "episodes", "failed", "patterns", title="Imported")
        for slug, agent in sorted(summary.agents.items()):
            table.add_row(slug, *map(str, _counts(agent)))
        Console(file=cast("IO[str]", self.stdout)).print(table)
        for bad in summary.bad[:_SHOWN_BAD_LINES]:
            self.stdout.write(f"{bad.file}:{bad.number}: skipped: {bad.reason}")
        if len(summary.bad) > _SHOWN_BAD_LINES:
            self.stdout.write(f"… and {len(summary.bad) - _SHOWN_BAD_LINES} more")
        for relative in sorted(summary.missing):
            self.stdout.write(f"no {relative}: the harness documents lack what it holds")
        self.stdout.write(
            f"{summary.imported} episodes imported, {summary.known} known already, {summary.outcomes} outcomes, "
            f"{len(summary.bad)} lines skipped"
        )


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _counts(agent: Agent) -> tuple[int, int, int, int]:
    return (
        agent.versions.count(),
        Episode.objects.filter(agent=agent).count(),
        Conversation.objects.filter(agent=agent).failing().count(),
        Pattern.objects.filter(agent=agent).count(),
    )
