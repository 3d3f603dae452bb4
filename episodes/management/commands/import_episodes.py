"""`manage.py import_episodes FORMAT FILE…`: conversations recorded elsewhere become episodes and outcomes."""

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from accounts.exceptions import DomainError
from episodes.importing.entries import BadLineError, Options, moment
from episodes.importing.files import refusal_of
from episodes.importing.formats import FORMATS
from episodes.importing.loading import Loader, Summary
from episodes.importing.tables import ROLES
from episodes.models import Conversation, Episode, Outcome, Pattern
from episodes.resolution import RESOLUTIONS
from episodes.reviewing import review
from episodes.settling import settle_agent
from episodes.understanding import understand_waiting
from harness.models import Agent

_INTERRUPTED = 130


class Command(BaseCommand):
    help = "Import conversations recorded elsewhere as episodes with all steps, and how they ended as outcomes."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        listed = "\n".join(f"  {one.name:<14}{one.summary}" for one in FORMATS.values())
        parser = super().create_parser(prog_name, subcommand, epilog=f"formats:\n{listed}", **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("format", choices=list(FORMATS))
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="May be gzip (.gz).")
        parser.add_argument("--agent", default="", help="Slug of the agent that gets the episodes; it must be there.")
        parser.add_argument(
            "--team", default="imported", help="Without --agent: the team that gets the agents; made when missing."
        )
        parser.add_argument("--owner", default="", help="Without --agent: username of who answers for the agents.")
        parser.add_argument("--at", type=_moment, help="The time of episodes that have none; otherwise it is now.")
        parser.add_argument(
            "--column", dest="columns", action="append", default=[], type=_pair, metavar="ROLE=HEADER",
            help=f"csv: which column holds what; roles are {', '.join(ROLES)}.",
        )  # fmt: skip
        parser.add_argument("--time-format", default="", help="csv: how times are written, as in %%d.%%m.%%Y %%H:%%M.")
        parser.add_argument(
            "--outcome", dest="outcomes", action="append", default=[], type=_pair, metavar="WORD=NAME",
            help=f"What a word of yours means: {', '.join(sorted(RESOLUTIONS))}.",
        )  # fmt: skip
        parser.add_argument(
            "--outcome-source", default="", choices=["", *Outcome.Source.values], help="Whose word the outcomes are."
        )
        parser.add_argument("--success-score", default="", help="langfuse: the score that says the user was helped …")
        parser.add_argument("--success-at", type=float, default=0.5, help="… from this value on (default: 0.5).")
        parser.add_argument(
            "--understand", action="store_true", help="Go from capture to patterns here, without a worker."
        )
        parser.add_argument("--strict", action="store_true", help="Exit with 1 when a line was skipped.")

    def handle(self, *args: Any, **options: Any) -> None:  # the signature of commands
        if refusals := [refusal for path in options["files"] if (refusal := refusal_of(path))]:
            raise CommandError("\n".join(refusals))
        console = Console(file=cast("IO[str]", self.stderr))
        try:
            loader = Loader(
                options["format"], team=options["team"], owner=options["owner"], agent=options["agent"],
                options=_options(options), at=options["at"],
            )  # fmt: skip
            self._load(loader, list(dict.fromkeys(options["files"])), console)
            if options["understand"]:
                self._understand(loader.summary, console)
        except DomainError as refusal:
            raise CommandError(str(refusal)) from refusal
        self._print(loader.summary)
        self._judge(loader.summary, options)

    def _load(self, loader: Loader, paths: list[Path], console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        try:
            with Progress(*columns, console=console) as progress:
                tasks = {path: progress.add_task(escape(path.name), total=path.stat().st_size) for path in paths}
                loader.load(paths, on_bytes=lambda path, num: progress.advance(tasks[path], num))
        except KeyboardInterrupt as interrupt:
            self._print(loader.summary)
            sentence = "Interrupted. Run the same command again: it goes on where this one stopped."
            raise CommandError(sentence, returncode=_INTERRUPTED) from interrupt

    def _judge(self, summary: Summary, options: dict[str, Any]) -> None:
        """Say by the exit code whether anything was read, and under --strict whether everything was."""
        if not summary.imported + summary.known:
            raise CommandError(f"Nothing in these files could be read as {options['format']}.", returncode=1)
        if options["strict"] and summary.num_bad:
            raise CommandError(f"{summary.num_bad} lines were skipped.", returncode=1)

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
        for note in summary.notes:
            self.stdout.write(_printable(f"{Path(note.file).name}: {note.sentence}"))
        for bad in summary.bad:
            self.stdout.write(_printable(f"{Path(bad.file).name}:{bad.number}: skipped: {bad.reason}"))
        if summary.num_bad > len(summary.bad):
            self.stdout.write(f"… and {summary.num_bad - len(summary.bad)} more")
        for relative in sorted(summary.missing):
            self.stdout.write(_printable(f"no {relative}: the harness documents lack what it holds"))
        self.stdout.write(
            f"{summary.imported} episodes imported, {summary.known} known already, {summary.outcomes} outcomes, "
            f"{summary.num_bad} lines skipped"
        )


def _options(options: dict[str, Any]) -> Options:
    columns, outcomes = dict(options["columns"]), dict(options["outcomes"])
    if strange := sorted(columns.keys() - ROLES.keys()):
        raise CommandError(f"A column cannot hold {strange[0]!r}; the roles are {', '.join(ROLES)}.")
    if strange := sorted(set(outcomes.values()) - RESOLUTIONS):
        raise CommandError(f"{strange[0]!r} is no end; the ends are {', '.join(sorted(RESOLUTIONS))}.")
    return Options(
        columns=columns, outcomes=outcomes, outcome_source=options["outcome_source"],
        success_score=options["success_score"], success_at=options["success_at"], time_format=options["time_format"],
    )  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _moment(text: str) -> str | None:
    try:
        return moment(text)
    except BadLineError as error:
        raise ArgumentTypeError(str(error)) from error


def _printable(text: str) -> str:
    """Return a text that cannot steer the terminal it is printed on."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _counts(agent: Agent) -> tuple[int, int, int, int]:
    return (
        agent.versions.count(),
        Episode.objects.filter(agent=agent).count(),
        Conversation.objects.filter(agent=agent).failing().count(),
        Pattern.objects.filter(agent=agent).count(),
    )
