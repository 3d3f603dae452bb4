"""`manage.py demo`: the whole loop on a real agent and simulated customers, from failures to verified releases."""

import json
import os
import signal
import threading
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from demo.passes import Demonstration
from demo.report import build_report
from demo.scenario import Scenario, load, without_defect
from demo.world import World, free_port, open_world

__all__ = ["Command"]

SHOP = Path(__file__).resolve().parent.parent.parent / "scenarios" / "shop"
ABLATIONS = ("", "corrections", "shuffle", "gate")


class Command(BaseCommand):
    """Play the loop, print it, write the report, and leave the admin open."""

    help = "Show the whole loop: a real agent, simulated customers and staff, real verdicts and releases."

    def add_arguments(self, parser: ArgumentParser) -> None:
        surroundings = os.environ
        parser.add_argument("--scenario", type=Path, default=Path(surroundings.get("SCENARIO") or SHOP))
        parser.add_argument("--seed", type=int, default=int(surroundings.get("SEED") or 1))
        parser.add_argument("--serve", type=int, default=int(surroundings.get("SERVE") or 1), help="0 ends afterwards")
        parser.add_argument("--ablate", choices=ABLATIONS, default=surroundings.get("ABLATE") or "")
        parser.add_argument("--without-defect", metavar="NAME", help="repair one person's proposal first")
        parser.add_argument("--port", type=int, default=int(surroundings.get("PORT") or 0), help="0 takes a free one")
        parser.add_argument("--report", type=Path, default=settings.BASE_DIR / ".whetstone" / "demo" / "report.json")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.IS_PRODUCTION:
            raise CommandError("The demonstration makes simulated accounts; production settings refuse them.")
        signal.signal(signal.SIGTERM, _interrupt)
        console = Console(stderr=False, soft_wrap=True)
        folder = options["scenario"].resolve()
        scenario = load(folder)
        if options["without_defect"]:
            scenario = without_defect(scenario, options["without_defect"])
        started = time.monotonic()
        port = options["port"] or free_port()
        logs = settings.BASE_DIR / ".whetstone" / "demo" / "log"
        console.print(
            f"{scenario.name}, seed {options['seed']}{', without ' + options['ablate'] if options['ablate'] else ''}"
        )
        with open_world(scenario, folder, port=port, logs=logs) as world:
            report = self._play(world, scenario, options, started, console)
            self._write(report, options["report"])
            self._table(report, console)
            self._logins(world, console)
            if options["serve"]:
                self._stay(console)
        broken = [name for name, holds in report["lines"].items() if not holds]
        if broken and not options["ablate"] and folder == SHOP and not options["without_defect"]:
            raise CommandError(f"The demonstration does not hold what it promises: {'; '.join(broken)}.")

    def _play(
        self, world: World, scenario: Scenario, options: dict[str, Any], started: float, console: Console
    ) -> dict[str, Any]:
        demo = Demonstration(world, seed=options["seed"], ablate=options["ablate"], console=console)
        demo.prepare()
        demo.run()
        return build_report(demo, seconds=time.monotonic() - started, ablate=options["ablate"])

    def _write(self, report: dict[str, Any], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n")

    def _table(self, report: dict[str, Any], console: Console) -> None:
        table = Table(title=f"Held-out resolution, ceiling {report['ceiling']:.1%}")
        for name in ("pass", "held-out", "change (95 % bounds)", "verdicts", "releases", "minutes"):
            table.add_column(name)
        for row in report["passes"]:
            change = row["change"]
            table.add_row(
                str(row["number"]),
                f"{row['held_out_resolution']:.1%}",
                f"{100 * change['mean']:+.1f} ({100 * change['lower_95']:+.1f} to {100 * change['upper_95']:+.1f})",
                ", ".join(f"{number} {verdict}" for verdict, number in row["verdicts"].items()),
                ", ".join(f"v{one['version']} {one['status']} {one['effect']}" for one in row["releases"]),
                f"{row['minutes']:.1f}",
            )
        console.print(table)
        for name, holds in report["lines"].items():
            console.print(f"  {'holds' if holds else 'BROKEN'}: {name}")
        used = report["corrections_used"]
        console.print(f"  {used['acts']} corrections over {used['episodes']} episodes; {report['subjects']} subjects")
        console.print(f"  time: {report['minutes']} min, by phase {report['phases_s']}")
        console.print("  differs from the default policy in:")
        for one in report["policy_overrides"]:
            console.print(
                f"    {one['path']}: {one['value']} (default {one['default']})", highlight=False, markup=False
            )

    def _logins(self, world: World, console: Console) -> None:
        console.print(f"Admin: {world.base_url}/admin/")
        for name, password in world.passwords.items():
            console.print(f"  {name:16} {password}", highlight=False, markup=False)

    def _stay(self, console: Console) -> None:
        console.print("Ctrl-C ends it.")
        done = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: done.set())
        done.wait()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
