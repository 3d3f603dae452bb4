"""`manage.py judge_pair BASE.jsonl CANDIDATE.jsonl`: recorded trajectories of the same tasks, read by the gate."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from episodes.importing.entries import BadLine
from episodes.importing.files import lines_of, refusal_of
from evals.external.pairs import JudgedPair, judge_pair
from evals.external.trajectories import RecordedSet, TrajectoriesError, read_trajectories
from evals.gate import GatePolicy, GatePolicyError

_STYLES = {"pass": "green", "fail": "red", "hold": "yellow"}
_SHOWN = 60
_WIDTH = 140


class Command(BaseCommand):
    help = "Judge two recorded variants of an agent on the same tasks (tau-bench, tau2-bench) by the gate's own rules."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("base", type=Path, metavar="BASE", help="Trajectories of the baseline. May be gzip (.gz).")
        parser.add_argument("candidate", type=Path, metavar="CANDIDATE", help="Of the candidate; may be the same file.")
        parser.add_argument(
            "--policy", type=Path, metavar="FILE",
            help="The gate's numbers as JSON, those that differ from the default (docs/policies).",
        )  # fmt: skip
        parser.add_argument("--variant-of-base", default="", metavar="NAME", help="Where BASE holds several variants.")
        parser.add_argument("--variant-of-candidate", default="", metavar="NAME", help="The same of CANDIDATE.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of tables.")
        parser.add_argument("--strict", action="store_true", help="Exit with 1 unless the verdict is pass.")

    def handle(self, *args: Any, **options: Any) -> None:  # the signature of commands
        policy = _policy_of(options["policy"])
        sets = {path: _read(path) for path in dict.fromkeys((options["base"], options["candidate"]))}
        try:
            base = sets[options["base"]].chosen(options["variant_of_base"])
            candidate = sets[options["candidate"]].chosen(options["variant_of_candidate"])
            judged = judge_pair(base, candidate, policy)
        except TrajectoriesError as refusal:
            raise CommandError(str(refusal)) from refusal
        bad = [one for read in sets.values() for one in read.bad]
        if options["json"]:
            skipped = [one._asdict() for one in bad]
            self.stdout.write(json.dumps(judged.as_json() | {"skipped": skipped}, indent=2, ensure_ascii=False))
        else:
            _Page(Console(file=cast("IO[str]", self.stdout), width=_WIDTH), policy).show(judged, bad)
        if options["strict"] and judged.overall != "pass":
            raise CommandError(f"The verdict is {judged.overall}.", returncode=1)


def _policy_of(path: Path | None) -> GatePolicy:
    if path is None:
        return GatePolicy()
    if refusal := refusal_of(path):
        raise CommandError(refusal)
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(given, dict):
            raise GatePolicyError(f"{path} holds no JSON object.")
        return GatePolicy.from_mapping(given)
    except GatePolicyError as error:
        raise CommandError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path} is no JSON in UTF-8: {error}") from error


def _read(path: Path) -> RecordedSet:
    if refusal := refusal_of(path):
        raise CommandError(refusal)
    damage: list[BadLine] = []
    lines = list(lines_of(path, on_bytes=lambda _: None, on_damage=damage.append))
    found = read_trajectories(str(path), lines)
    found.bad += damage
    return found


class _Page:
    """What a person reads: the verdict, every gate, and every task that came out differently."""

    def __init__(self, console: Console, policy: GatePolicy) -> None:
        self.console, self.policy = console, policy

    def say(self, text: str = "", style: str = "") -> None:
        self.console.print(escape(_printable(text)), style=style, highlight=False)

    def show(self, judged: JudgedPair, bad: list[BadLine]) -> None:
        self.say(f"{judged.overall.upper()}", f"bold {_STYLES[judged.overall]}")
        self.say(judged.sentence)
        self._sides(judged)
        self._gates(judged)
        self._overrides(judged)
        self._tasks(f"Fixed ({len(judged.fixed)})", judged.fixed)
        self._tasks(f"Broken ({len(judged.broken)})", judged.broken)
        ends = {
            "Crashes of the agent (not failures of quality)": judged.crashes,
            "Lost to infrastructure (dropped in both arms)": judged.drops,
        }
        for title, found in ends.items():
            self._tasks(
                f"{title} ({len(found)})",
                [f"{one.arm}: {one.task} trial {one.trial}: {one.how}: {one.error}".rstrip(": ") for one in found],
            )
        self._tasks(
            f"Left out ({len(judged.left_out)})",
            [
                f"{one.task} trial {one.trial}: {one.baseline} → {one.candidate}: {one.reason}"
                for one in judged.left_out
            ],
        )
        for arm, tasks in (("baseline", judged.only_baseline), ("candidate", judged.only_candidate)):
            if tasks:
                self.say(f"{len(tasks)} tasks only the {arm} played are no part of this: {', '.join(tasks[:5])} …")
        for one in bad[:_SHOWN]:
            self.say(f"{Path(one.file).name}:{one.number}: skipped: {one.reason}", "yellow")

    def _sides(self, judged: JudgedPair) -> None:
        table = Table("arm", "variant", "runs", "passed", "failed", "crashed", "dropped", title=f"{judged.tasks} tasks")
        for arm, side in (("baseline", judged.baseline), ("candidate", judged.candidate)):
            counts = (side.runs, side.passed, side.failed, side.crashed, side.dropped)
            table.add_row(arm, escape(_printable(side.variant)), *map(str, counts))
        self.console.print(table)

    def _gates(self, judged: JudgedPair) -> None:
        table = Table("gate", "verdict", "why", "numbers")
        for gate in judged.verdict.gates:
            style = _STYLES[gate.verdict]
            why = gate.sentence.removeprefix(f"{gate.verdict}: ")
            table.add_row(
                gate.name, f"[{style}]{gate.verdict}[/]", escape(_printable(why)), escape(_numbers(gate.numbers))
            )
        self.console.print(table)

    def _overrides(self, judged: JudgedPair) -> None:
        defaults = GatePolicy().as_mapping()
        if not judged.overrides:
            self.say("Policy: the default, unchanged.")
            return
        self.say("Overrides of the default policy:")
        for name, value in judged.overrides.items():
            what = "these gates inform and do not decide: " + ", ".join(value) if name == "advisory" else f"{value}"
            was = "" if name == "advisory" else f" (default {defaults[name]})"
            self.say(f"  {name}: {what}{was}")

    def _tasks(self, title: str, lines: Iterable[str]) -> None:
        shown = list(lines)
        self.say(title, "bold")
        for line in shown[:_SHOWN]:
            self.say(f"  {line}")
        if len(shown) > _SHOWN:
            self.say(f"  … and {len(shown) - _SHOWN} more (--json has all)")


def _numbers(numbers: dict[str, Any]) -> str:
    """Return a gate's plain numbers; lists and tables of them are in the JSON."""
    plain = {name: value for name, value in numbers.items() if isinstance(value, int | float | str) and value != ""}
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {_printable(str(value))}"
        for name, value in plain.items()
    )


def _printable(text: str) -> str:
    """Return a text that cannot steer the terminal it is printed on."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
