"""A small scenario and the processes that play it, for tests of the agent, its backend and its customers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHOP = Path(__file__).parents[2] / "platform" / "demo" / "scenarios" / "shop"

_FILES = {
    "scenario.toml": """
name = "desk"
[backend]
accepts = ["dashed"]
[backend.tables]
lookup_order = "orders.json"
[missing]
documents = []
[customers]
patience = [2, 3]
typo_rate = 0.0
""",
    "utterances.csv": """text,intent,pool,template
when do you open in the morning,hours,live,h1
what are your opening hours,hours,live,h2
until what time is the store open,hours,meter,h3
where is my parcel {order},parcel,live,p1
please track the parcel of order {order},parcel,live,p2
has order {order} been shipped,parcel,meter,p3
I bought 2 lamps and want to know where my order {order} is,parcel,meter,p4
an employee was rude to me,conduct,live,c1
your staff insulted me and I want to complain,conduct,meter,c2
""",
    "answers/hours.md": """---
title = "Opening hours"
facts = ["from 9 to 18"]
tags = ["when are you open"]
---
The store is open from 9 to 18 on weekdays.""",
    "answers/parcel.md": """---
title = "Where a parcel is"
facts = ["is {result.status}"]
tool = "lookup_order"
tags = ["track my order"]
---
Your order is {result.status}.""",
    "answers/conduct.md": """---
title = "Rude employees"
facts = ["we apologize"]
handoff_ok = true
---
For rude staff we apologize.""",
    "orders.json": json.dumps({f"KL-4821{digit}": {"status": f"on truck {digit}"} for digit in range(5)}),
    "recordings.json": json.dumps({"lookup_order": {f"KL-4821{d}": {"status": f"on truck {d}"} for d in range(3)}}),
    "harness.json": json.dumps(
        {
            "prompt": {"system": "Be kind.", "rules": {}},
            "tools": {
                "lookup_order": {
                    "parameters": {
                        "type": "object",
                        "required": ["order_id"],
                        "properties": {"order_id": {"type": "string", "pattern": "^KL-?[0-9]{5}$"}},
                    },
                    "settings": {"number_style": "dashed"},
                    "enabled": True,
                }
            },
            "workflow": {"settings": {"handoff_confidence": 0.15}},
            "context": {"documents": {}, "retrieval": {"top_k": 3, "min_score": 0.3}},
            "guardrails": {"rules": {"insult": {"when": "insult staff", "then": "escalate"}}},
        }
    ),
}


def write_scenario(folder: Path) -> Path:
    """Write the small scenario and return its folder."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@contextmanager
def process(module: str, *arguments: str) -> Iterator[str]:
    """Run a server module as a process of its own and yield the URL it prints; it must end well on SIGTERM."""
    command = [sys.executable, "-m", module, "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert "listens on http://" in line, f"{module} did not start: {line!r}"
            yield line.split()[-1]
        finally:
            server.terminate()
            server.wait(timeout=20)


@contextmanager
def desk(folder: Path, whetstone: str, *, agent: str = "desk", accepts: tuple[str, ...] = ()) -> Iterator[str]:
    """Run the scenario's backend and an agent, and yield the agent's URL."""
    chosen = ("--accepts", *accepts) if accepts else ()
    recordings = ("--recordings", str(folder / "recordings.json")) if (folder / "recordings.json").is_file() else ()
    with (
        process("demo.backend", "--scenario", str(folder), *chosen) as backend,
        process(
            "demo.agent", "--whetstone", whetstone, "--key", "k", "--agent", agent, "--backend", backend, *recordings
        ) as url,
    ):
        yield url
