"""`make bench-loop`: the demonstration's loop on any scenario folder, whole or with one part removed.

SCENARIO names the folder (default: the shop), SEED the seed, ABLATE one of corrections, shuffle, gate.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.reporting import Bench

ROOT = Path(__file__).resolve().parent.parent.parent


def main():
    """Play the loop in a process of its own and keep its numbers."""
    ablate = os.environ.get("ABLATE") or ""
    settings = {name: os.environ.get(name.upper(), "") for name in ("scenario", "seed", "ablate")}
    bench = Bench("loop" if not ablate else f"loop-{ablate}", settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, str(ROOT / "manage.py"), "demo", "--serve", "0", "--report", str(path)]
        done = subprocess.run(command, check=False)
        if not path.exists():
            return done.returncode or 1
        played = json.loads(path.read_text())
    bench.keys |= {
        "start": played["start"],
        "final": played["final"],
        "ceiling": played["ceiling"],
        "closure": played["closure"],
        "harmful_releases": played["harmful_releases"],
        "passes": len(played["passes"]) - 1,
        "minutes": played["minutes"],
        "corrections_used": played["corrections_used"],
        "promoted": sum(one["status"] == "promoted" for row in played["passes"] for one in row["releases"]),
        "refused": len(played["refused"]),
        "rolled_back": len(played["rolled_back"]),
    }
    bench.table(
        "passes",
        [
            {
                "pass": row["number"],
                "held_out_resolution": row["held_out_resolution"],
                "verdicts": json.dumps(row["verdicts"]),
                "releases": ", ".join(f"v{one['version']} {one['status']} {one['effect']}" for one in row["releases"]),
                "minutes": row["minutes"],
            }
            for row in played["passes"]
        ],
    )
    return bench.finish() or done.returncode


if __name__ == "__main__":
    sys.exit(main())
