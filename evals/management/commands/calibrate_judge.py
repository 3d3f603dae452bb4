"""`manage.py calibrate_judge FILE…`: measure recorded judges against people's labels and say which may decide."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from accounts.exceptions import DomainError
from evals.gate.policy import GatePolicy, GatePolicyError
from evals.judges.agreement import Rate
from evals.judges.calibrating import Calibration, calibrate
from evals.judges.recorded import Fields, Group, Recorded, grouped, read_lines
from evals.judges.rubric import Rubric, read_rubric

__all__ = ["Command"]

_WIDTH = 150


class Command(BaseCommand):
    """Exit 0 whatever the decisions are: that a judge may not decide is an answer, not a failure."""

    help = (
        "Measure judges against people's labels, both read from JSONL, and say by the policy's numbers who may decide."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        named = Fields()
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="One JSON object a line.")
        parser.add_argument("--label", default=named.label, help="The field with the person's word (%(default)s).")
        parser.add_argument("--verdict", default=named.verdict, help="The field with the judge's word (%(default)s).")
        parser.add_argument("--group", default=named.group, help="Measure apart by this field (%(default)s); '' not.")
        parser.add_argument("--judge", default=named.judge, help="What tells judges apart, by commas (%(default)s).")
        parser.add_argument("--item", default=named.item, help="What tells items apart (%(default)s); '' every line.")
        parser.add_argument("--cluster", default=named.cluster, help="What makes items dependent (%(default)s).")
        parser.add_argument(
            "--arm", default=named.arm, help="The field with baseline or candidate; without it no arms."
        )
        parser.add_argument("--top", type=int, default=1, help="Grades go from 0 to this; 1 is pass and fail.")
        parser.add_argument("--pass-mark", type=int, default=None, help="The grade from which an item passes.")
        parser.add_argument("--policy", type=Path, help="A JSON file with a policy's gate numbers; else the default's.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print JSON instead of a table.")

    def handle(self, *args: Any, **options: Any) -> None:
        fields = Fields(**{name: options[name] for name in Fields.__dataclass_fields__})
        try:
            policy, rubric = _policy(options["policy"]), _rubric(options["top"], options["pass_mark"])
            groups = grouped(_records(options["files"], fields, rubric))
        except (DomainError, GatePolicyError) as refusal:
            raise CommandError(str(refusal)) from refusal
        if not groups:
            raise CommandError("These files hold no verdict: give at least one line with a label and a verdict.")
        measured = [
            (group, calibrate(group.comparisons, top=rubric.top, pass_mark=rubric.pass_mark, per_arm=bool(fields.arm)))
            for group in groups
        ]
        if options["as_json"]:
            rows = [_as_json(group, calibration, policy) for group, calibration in measured]
            self.stdout.write(json.dumps({"policy": _bar(policy), "judges": rows}, indent=2, ensure_ascii=False))
        else:
            self._print(measured, policy)

    def _print(self, measured: list[tuple[Group, Calibration]], policy: GatePolicy) -> None:
        bar = _bar(policy)
        title = (
            f"A judge may decide from kappa {bar['kappa']:.2f} (lower end {bar['kappa_lower']:.2f}) on {bar['labels']} "
            "human labels"
        )
        columns = ("judge", "on", "labels", "kappa [95 %]", "sens.", "spec.", "decision")
        table = Table(*columns, title=title, title_justify="left")
        for group, calibration in measured:
            table.add_row(*map(Text, _cells(group, calibration, policy)))
        console = Console(file=cast("IO[str]", self.stdout), highlight=False)
        console.width = max(console.width, _WIDTH)  # a table cut to a narrow terminal would lose what the judge needs
        console.print(table)
        able = sum(not calibration.faults(policy) for _, calibration in measured)
        console.print(f"{able} of {len(measured)} may decide; the others are advisory.")


def _records(files: list[Path], fields: Fields, rubric: Rubric) -> Iterator[Recorded]:
    for path in dict.fromkeys(files):
        try:
            with path.open(encoding="utf-8") as lines:
                yield from read_lines(lines, name=path.name, fields=fields, rubric=rubric)
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"Cannot read {path}: {error}.") from error


def _rubric(top: int, pass_mark: int | None) -> Rubric:
    if top == 1:
        return read_rubric({"text": "as recorded", "pass_mark": 1 if pass_mark is None else pass_mark})
    anchors = {"0": "lowest", str(top): "highest"}
    given = {} if pass_mark is None else {"pass_mark": pass_mark}
    return read_rubric({"text": "as recorded", "scale": "ordinal", "top": top, "anchors": anchors, **given})


def _policy(path: Path | None) -> GatePolicy:
    if path is None:
        return GatePolicy()
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"Cannot read a JSON object of gate numbers from {path}: {error}.") from error
    if not isinstance(numbers, dict):
        raise CommandError(f"{path} holds no JSON object; write gate numbers by name, or a whole policy.")
    gate = numbers.get("gate", numbers)
    return GatePolicy.from_mapping(gate if isinstance(gate, dict) else numbers)


def _bar(policy: GatePolicy) -> dict[str, float]:
    return {
        "kappa": policy.judge_kappa, "kappa_lower": policy.judge_kappa_lower, "labels": policy.judge_labels,
        "arm_gap": policy.judge_arm_gap,
    }  # fmt: skip


def _cells(group: Group, calibration: Calibration, policy: GatePolicy) -> tuple[str, ...]:
    found = calibration.agreement
    kappa = "-" if found.kappa is None else f"{found.kappa:z.2f} [{found.lower:z.2f}, {found.upper:z.2f}]"
    rates = (_share(calibration.sensitivity), _share(calibration.specificity))
    cells = (group.judge, group.group, str(found.labels), kappa, *rates, calibration.decision(policy))
    return tuple(_printable(cell) for cell in cells)


def _share(rate: Rate) -> str:
    return "-" if rate.share is None else f"{rate.share:.2f}"


def _printable(text: str) -> str:
    """Return a text that cannot steer the terminal it is printed on."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _as_json(group: Group, calibration: Calibration, policy: GatePolicy) -> dict[str, Any]:
    found = calibration.agreement
    return {
        "judge": group.judge, "on": group.group, "labels": found.labels, "clusters": found.clusters,
        "kappa": found.kappa, "kappa_lower": found.lower, "kappa_upper": found.upper, "observed": found.observed,
        "sensitivity": calibration.sensitivity.share, "specificity": calibration.specificity.share,
        "by_arm": {
            arm: {"sensitivity": sens.share, "specificity": spec.share}
            for arm, (sens, spec) in calibration.by_arm.items()
            if calibration.per_arm
        },
        "may_decide": not calibration.faults(policy), "needs": calibration.faults(policy),
        "decision": calibration.decision(policy),
    }  # fmt: skip
