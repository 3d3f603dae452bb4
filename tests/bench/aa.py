"""`make bench-aa`: how often the gate finds a gain between a version and itself (RUNS=, CASES=).

Every run is real: cases in the database, a flaky agent over HTTP, results stored, the gate's verdict read back. The
agent passes a case with a chance of its own, Beta(mean .40, ICC .40), knows no arm and heeds no seed, so every p at or
below .05 is a false alarm. Each run is a comparison of the stable version with itself on development cases: always the
first look of its plan.
"""

import json
import os
import random
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.bench.admin_world import throwaway_database
from tests.bench.reporting import Bar, Bench

RUNS = int(os.environ.get("RUNS") or 200)
CASES = int(os.environ.get("CASES") or 24)
ALPHA, MAX_ALARMS, ALLOWED_SHARE = 0.05, 18, 0.09
MEAN, ICC, SEED = 0.40, 0.40, 20_260_501
TOTAL = 1 / ICC - 1
BARS = (Bar("aa_end_to_end", "<=", MAX_ALARMS if RUNS == 200 else ALLOWED_SHARE * RUNS),)
SAID = json.dumps({"output": {"text": "yes"}, "usage": {"latency_ms": 5.0}}).encode()
DENIED = json.dumps({"output": {"text": "no"}, "usage": {"latency_ms": 5.0}}).encode()
DOCUMENT = {"prompt": {"system": "Answer yes where you can.", "rules": {}}}


class _Flaky(BaseHTTPRequestHandler):
    """Passes with the case's own chance, drawn anew at every turn."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stream = random.Random(SEED)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["messages"][-1]["content"]
        chance = random.Random(zlib.crc32(name.encode())).betavariate(MEAN * TOTAL, (1 - MEAN) * TOTAL)
        payload = SAID if self.stream.random() < chance else DENIED
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args: object) -> None:
        """Say nothing of each of tens of thousands of turns."""


@contextmanager
def flaky_agent() -> Iterator[str]:
    """Serve the agent; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Flaky) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def play_all(bench: Bench, url: str) -> list[dict[str, object]]:
    """Play and judge every run; return what each found, read back from its row."""
    # Settings read the database's address when they are loaded.
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from accounts.acting import MACHINE, acting
    from accounts.models import Membership, Team, User
    from evals.benchmarks import activate_drafts, add_cases, create_benchmark
    from evals.comparing import begin_comparison
    from evals.jobs import play_run
    from evals.models import Run
    from harness.models import Agent

    with acting(MACHINE, reason="a bench"):
        team, person = Team.objects.create(slug="bench", name="Bench"), User.objects.create_user("bench")
        Membership.objects.create(team=team, user=person, role="engineer")
        agent = Agent.objects.create(
            team=team, owner=person, slug="flaky", name="Flaky", purpose="Answers.", endpoint=url
        )
        agent.bootstrap(DOCUMENT, by=MACHINE, reason="the first version")
    by = person.as_actor()
    made = create_benchmark(agent, name="cases", description="", by=by)
    rows = [
        {"name": f"case {n}", "kind": "success", "split": "dev", "expectations": {"contains": ["yes"]},
         "messages": [{"role": "user", "content": f"Case {n}, please."}]}
        for n in range(CASES)
    ]  # fmt: skip
    add_cases(made, rows, by=by)
    activate_drafts(made, by=by, reason="ready")
    found = []
    for number in range(RUNS):
        run = begin_comparison(agent.stable, agent.stable, made, by=by, reason=f"A/A {number}", split="dev")
        play_run(str(run.pk))
        judged = Run.objects.get(pk=run.pk)
        target = next(gate for gate in judged.reading["gates"] if gate["name"] == "target")
        found.append({"verdict": judged.verdict, "target": target["verdict"], "p": target["numbers"]["p"],
                      "k": target["numbers"]["k"], "clusters": target["numbers"]["clusters"]})  # fmt: skip
        if (number + 1) % 20 == 0:
            alarms = sum(one["p"] <= ALPHA for one in found)
            bench.say(f"{number + 1} runs, {alarms} with p <= {ALPHA:g}")
    return found


def main() -> int:
    """Play the runs and hold the false alarms against what chance allows."""
    bench = Bench("aa", bars=BARS, settings={"runs": RUNS, "cases": CASES, "mean": MEAN, "icc": ICC})
    with throwaway_database("aa"), flaky_agent() as url:
        found = play_all(bench, url)
        from django.db import connections

        connections.close_all()
    alarms = sum(one["p"] <= ALPHA for one in found)
    counts = [
        {"of": of, "said": said, "runs": number}
        for of in ("verdict", "target")
        for said, number in sorted(Counter(one[of] for one in found).items())
    ]
    bench.table("what was said of a version against itself", counts)
    bench.keys = {
        "aa_end_to_end": alarms, "aa_share": round(alarms / len(found), 4), "runs": len(found),
        "passed": sum(one["verdict"] == "pass" for one in found), "trials": sum(one["k"] for one in found) * CASES * 2,
    }  # fmt: skip
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
