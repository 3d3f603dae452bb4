"""The loop, turned: customers come, support corrects, strategies draft, the gate judges, people release."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console

from demo.exam import cases_of, intent_of, slug_of, unrecognized
from demo.scenario import PersonProposal
from demo.staff import RefusedError
from demo.support import CorrectionWork, correct_failures
from demo.traffic import Traffic
from demo.world import World, demo_limits
from episodes.intents import Anchors
from evals.measuring import measure
from evals.models import Benchmark
from evals.runners import HttpRunner
from harness.canonical import digest_of
from harness.models import Agent
from inference.encoder import encode

__all__ = ["Ablation", "Demonstration", "PassRecord"]

type Ablation = Literal["", "corrections", "shuffle", "gate"]

FIRST_CUSTOMERS = 420
BATCH = 60
MAX_PASSES = 12
MAX_RELEASES = 10
MAX_CUSTOMERS_A_RELEASE = 1_600
MIN_SUBJECTS = 5
JUDGED_WITHIN_S = 600.0
PENDING = ("draft", "submitted", "validating", "held", "validated", "approved")


@dataclass
class PassRecord:
    """What one pass did, by the ids of the rows that say so."""

    number: int
    digest: str
    held_out_resolution: float
    proposals: list[str] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


class Demonstration:
    """Plays the whole loop in a running world and keeps what happened."""

    def __init__(self, world: World, *, seed: int, ablate: Ablation, console: Console) -> None:
        self.world, self.seed, self.ablate, self.console = world, seed, ablate, console
        self.staff, self.scenario, self.slug = world.staff, world.scenario, world.scenario.agent_slug
        self.traffic = Traffic(world, seed)
        self.work = CorrectionWork()
        self.passes: list[PassRecord] = []
        self.written: set[str] = set()
        self.seconds: dict[str, float] = {}

    # setting up, as people would

    def prepare(self) -> None:
        """Put the policy in force by two people, define intents, and write the exam and the meter."""
        engineer = self.staff["engineer"]
        with self._timed("prepare"):
            for kind, document in (
                ("policy", demo_limits(gate_off=self.ablate == "gate")),
                ("objective", {"maturity_s": 3}),
            ):
                change = engineer.post(
                    "/changes",
                    {"agent": self.slug, "kind": kind, "document": document, "rationale": "the demonstration's"},
                )
                self.staff["approver"].post(f"/changes/{change['id']}/approve", {"reason": "as printed"})
            for intent in self.scenario.intents:
                engineer.post("/intents", intent_of(self.scenario, intent))
            self._benchmark("exam", [("verify", "verify"), ("holdout", "holdout"), ("dev", "dev")], recorded=True)
            self._benchmark("meter", [("meter", "holdout")], recorded=False)
        self.say("policy in force by two people, intents defined, exam and meter written")

    def _benchmark(self, name: str, pools: list[tuple[str, str]], *, recorded: bool) -> None:
        # Who writes the exam proposes nothing that it judges, and the engineer does propose.
        examiner = self.staff["approver"]
        benchmark = examiner.post(
            "/benchmarks", {"agent": self.slug, "name": name, "description": f"pool {pools[0][0]}"}
        )
        for pool, split in pools:
            cases = cases_of(self.scenario, pool, split=split, recorded=recorded)
            nameless = unrecognized(cases, self._recognized(cases)) if split == "verify" else []
            examiner.post(f"/benchmarks/{benchmark['id']}/cases", [*cases, *nameless])
        examiner.post(f"/benchmarks/{benchmark['id']}/activate", {"reason": "written for the demonstration"})

    def _recognized(self, cases: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Tell of each case whether the platform's own anchors take what it asks for one of the intents."""
        anchors = Anchors.of(Agent.objects.get(slug=self.slug).pk)
        vectors = encode([case["messages"][0]["content"] for case in cases])
        return [anchors.nearest(vector) is not None for vector in vectors]

    # the loop

    def run(self) -> None:
        """Turn the loop until nothing is left to do."""
        ceiling = self._measure(self.scenario.ceiling_document())
        self.ceiling = sum(ceiling.values()) / len(ceiling)
        self._close_pass(PassRecord(0, "", 0.0))
        with self._timed("customers"):
            self.traffic.send(FIRST_CUSTOMERS, on_progress=self._progress("customers"))
        self._write_people("start")
        idle = 0
        while len(self.passes) <= MAX_PASSES and idle < 2:
            record = PassRecord(len(self.passes), "", 0.0)
            before = time.monotonic()
            released = self._turn(record)
            idle = 0 if released or record.proposals else idle + 1
            if record.proposals or record.releases:
                record.seconds["pass"] = time.monotonic() - before
                self._close_pass(record)
            elif idle < 2:
                with self._timed("customers"):
                    self.traffic.send(BATCH * 2, on_progress=self._progress("customers"))

    def _turn(self, record: PassRecord) -> bool:
        """Correct, draft, validate what waits, release the first that passes; return whether one was released."""
        self._understood()
        self._correct()
        self._draft()
        proposal = self._judged(record)
        if proposal is None or len([r for p in self.passes for r in p.releases]) >= MAX_RELEASES:
            return False
        release = self._release(proposal)
        record.releases.append(release["id"])
        self._ramp(release)
        self._write_people("after_tool_fix" if self._tool_is_fixed() else "start")
        return True

    def _understood(self) -> None:
        """Wait until every captured episode was understood and conversations have settled."""
        with self._timed("understanding"):
            self._wait_until(lambda: not Agent.objects.get(slug=self.slug).episodes.waiting().exists(), 60)
            time.sleep(4.0)
            self._wait_until(lambda: not self._unsettled(), 30)

    def _unsettled(self) -> bool:
        agent = Agent.objects.get(slug=self.slug)
        return bool(agent.conversations.filter(settled_at__isnull=True).exists())

    def _open_patterns(self) -> list[dict[str, Any]]:
        rows = self.staff["support"].all("/patterns", agent=self.slug)
        return [
            row
            for row in rows
            if row["status"] in ("new", "escalating", "regressed") and row["num_subjects"] >= MIN_SUBJECTS
        ]

    def _correct(self) -> None:
        manner = {"corrections": "none", "shuffle": "shuffled"}.get(self.ablate, "right")
        with self._timed("corrections"):
            correct_failures(
                self.staff["support"], self.scenario, self._open_patterns(), self.traffic.wants, self.work,
                manner=manner, seed=self.seed,  # type: ignore[arg-type]  # the mapping's values are the literals
            )  # fmt: skip

    def _draft(self) -> None:
        with self._timed("drafting"):
            for pattern in self._open_patterns():
                try:
                    self.staff["engineer"].post(f"/patterns/{pattern['id']}/draft")
                except RefusedError as refusal:
                    self.say(f"no draft for {pattern['title']}: {refusal}")

    def _judged(self, record: PassRecord) -> dict[str, Any] | None:
        """Wait for verdicts until one passes; return that proposal, or `None` when nothing waits any more."""
        deadline = time.monotonic() + JUDGED_WITHIN_S
        with self._timed("validation"):
            while time.monotonic() < deadline:
                rows = self.staff["engineer"].all("/proposals", agent=self.slug)
                for row in rows:
                    if (row["verdict"] or row["status"] == "held") and row["id"] not in self.written:
                        deadline = time.monotonic() + JUDGED_WITHIN_S
                        self.written.add(row["id"])
                        record.proposals += [row["id"]] if row["verdict"] else []
                        self._show_verdict(row["id"])
                ready = [row for row in rows if row["status"] in ("validated", "approved")]
                if ready:
                    return ready[0]
                if not any(row["status"] in ("submitted", "validating") for row in rows):
                    return None
                time.sleep(0.5)
            self.say(f"no verdict within {JUDGED_WITHIN_S:.0f} s; see the runs and the worker's log")
            return None

    def _release(self, row: dict[str, Any]) -> dict[str, Any]:
        """Two kinds of approval, then the start: each by the person whose role it is."""
        approvers = [self.staff["approver"], self.staff["second-approver"]]
        with self._timed("approvals"):
            if row["status"] == "validated":
                for approver in approvers[: row["approvals_needed"]]:
                    body = {"reason": "the diff is small and the numbers hold", "digest": row["candidate_digest"]}
                    approver.post(f"/proposals/{row['id']}/approve", body)
            manager = self.staff["release-manager"]
            release = manager.post("/releases", {"proposal": row["id"], "reason": row["title"]})
            manager.post(f"/releases/{release['id']}/submit", {"reason": "ready"})
            for approver in approvers[: release["approvals_needed"]]:
                approver.post(
                    f"/releases/{release['id']}/approve",
                    {"reason": "the plan is right", "plan_digest": release["plan_digest"]},
                )
            started: dict[str, Any] = self._start(release["id"])
            return started

    def _start(self, release_id: str) -> Any:
        """Start when the limits allow; the aftermath of an earlier release may have to close first."""
        deadline = time.monotonic() + 180
        while True:
            try:
                return self.staff["release-manager"].post(f"/releases/{release_id}/start", {"reason": "go"})
            except RefusedError as refusal:
                if refusal.code not in ("velocity", "ramp_busy") or time.monotonic() > deadline:
                    raise
                self.traffic.send(BATCH, on_progress=self._progress("customers, waiting for the aftermath"))

    def _ramp(self, release: dict[str, Any]) -> None:
        """Send customers until the release has ended, one way or the other."""
        sent = 0
        with self._timed("ramp"):
            while True:
                row = self.staff["release-manager"].get(f"/releases/{release['id']}")
                if row["status"] in ("rolled_back", "declined", "withdrawn") or row["aftermath_closed_at"]:
                    self.say(f"release {row['status']} {row['effect']}: {row['guard_sentence']}")
                    return
                if row["status"] in ("inconclusive", "paused") or sent >= MAX_CUSTOMERS_A_RELEASE:
                    reason = row["guard_sentence"] or "it was not decided in time"
                    self.say(f"release {row['status']}: {reason}; rolled back by the release manager")
                    self.staff["release-manager"].post(f"/releases/{release['id']}/roll_back", {"reason": reason})
                    self._wait_until(lambda: self._status(release["id"]) == "rolled_back", 30)
                    return
                self.traffic.send(
                    BATCH, on_progress=self._progress(f"customers, {row['status']} at {row['weight']:.0%}")
                )
                sent += BATCH

    def _status(self, release_id: str) -> str:
        return str(self.staff["release-manager"].get(f"/releases/{release_id}")["status"])

    # people's own proposals

    def _tool_is_fixed(self) -> bool:
        """Whether a change of the tools layer was promoted: what people mean by *after the tool was repaired*."""
        rows = self.staff["engineer"].all("/proposals", agent=self.slug, layer="tools")
        return any(row["status"] in ("verified", "not_fixed", "confounded") for row in rows)

    def _write_people(self, when: str) -> None:
        for person in self.scenario.people:
            if person.when == when and person.name not in self.written:
                self.written.add(person.name)
                self._write(person)

    def _write(self, person: PersonProposal) -> None:
        author = self.staff[person.author_role]
        episodes = author.get("/episodes", agent=self.slug, limit=400)["results"]
        wanted = [
            row for row in episodes
            if not person.target_intents or self.traffic.wants.get(row["conversation"]) in person.target_intents
        ]  # fmt: skip
        body = {
            "agent": self.slug, "title": person.title, "claim": person.claim, "rationale": person.rationale,
            "patch": [dict(operation) for operation in person.patch], "target_intents": [slug_of(intent) for intent in person.target_intents],
            "evidence": [{"episode": row["id"]} for row in wanted[:5]],
        }  # fmt: skip
        proposal = author.post("/proposals", body)
        author.post(f"/proposals/{proposal['id']}/submit", {"reason": person.rationale})
        self.say(f"{person.author_role} proposed: {person.title}")

    # measuring and telling

    def _measure(self, document: Any) -> dict[str, bool]:
        with self._timed("meter"), HttpRunner(self.world.agent_url, tools="live") as runner:
            return measure(Benchmark.objects.get(agent__slug=self.slug, name="meter"), document, runner)

    def _close_pass(self, record: PassRecord) -> None:
        stable = Agent.objects.select_related("stable").get(slug=self.slug).stable
        assert stable is not None  # the agent was bootstrapped
        results = self._measure(stable.document)
        record.digest = digest_of(stable.document)
        record.held_out_resolution = sum(results.values()) / len(results)
        self.passes.append(record)
        self.say(
            f"[bold]pass {record.number}[/bold]: held-out resolution {record.held_out_resolution:.1%} "
            f"of a ceiling of {self.ceiling:.1%}"
        )

    def _show_verdict(self, proposal_id: str) -> None:
        row = self.staff["engineer"].get(f"/proposals/{proposal_id}")
        self.say(
            f"[bold]{row['verdict'] or row['status']}[/bold] {row['title']} ({row['layer']}, {row['size']} lines, {row['claim']})"
        )
        for operation in row["patch"]:
            value = str(operation.get("value", ""))
            self.say(f"    {operation['op']} {operation['path']} {value[:100]}", markup=False)
        if row["verdict"] != "pass":
            self.say(f"    {row['verdict_summary'].get('sentence', '')}"[:600], markup=False)

    def say(self, text: str, *, markup: bool = True) -> None:
        """Print one line with the time since the start."""
        self.console.print(text, markup=markup, highlight=False)

    def _progress(self, what: str) -> Callable[[int], None]:
        def show(number: int) -> None:
            if number % 200 == 0:
                self.say(f"    {number} {what}")

        return show

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.3)

    def _timed(self, phase: str) -> "_Clock":
        return _Clock(self.seconds, phase)

    def phases(self) -> Iterator[tuple[str, float]]:
        """Yield how long each phase took, longest first."""
        yield from sorted(self.seconds.items(), key=lambda pair: -pair[1])


class _Clock:
    """Adds the time spent in a block to a phase."""

    def __init__(self, seconds: dict[str, float], phase: str) -> None:
        self._seconds, self._phase = seconds, phase

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + time.monotonic() - self._started
