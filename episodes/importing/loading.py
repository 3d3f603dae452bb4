"""Loads files of recorded runs: agents and versions where missing, each episode once, bad lines by number."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any, cast

from django.db import transaction

from accounts.acting import MACHINE, acting
from accounts.exceptions import DomainError
from accounts.models import Membership, Team, User
from accounts.roles import Role
from episodes.capture import capture
from episodes.importing import tau2_bench, tau_bench
from episodes.importing.runs import BadLineError, Material, Reader, Run
from episodes.judging import report_outcome
from episodes.models import Episode
from harness.canonical import DocumentError, digest_of, parse_json
from harness.models import Agent, HarnessVersion

__all__ = ["FORMATS", "BadLine", "Loader", "Summary"]

FORMATS: Mapping[str, Reader] = {"tau-bench": tau_bench.read, "tau2-bench": tau2_bench.read}
_RUNS_PER_BATCH = 50
_REASON = "imported recorded runs"


@dataclass(frozen=True)
class BadLine:
    """A line that was skipped: where, and why."""

    file: str
    number: int
    reason: str


@dataclass
class Summary:
    """What a load did."""

    imported: int = 0
    known: int = 0
    outcomes: int = 0
    bad: list[BadLine] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    agents: dict[str, Agent] = field(default_factory=dict)


@dataclass(frozen=True)
class _Line:
    number: int
    run: Run


class Loader:
    """Loads files of one format for one team. Loading again imports nothing twice and adds what an abort left out."""

    def __init__(self, format_name: str, *, team: str, owner: str = "") -> None:
        self.format_name = format_name
        self.reader = FORMATS[format_name]
        self.summary = Summary()
        self._digests: dict[str, set[str]] = {}
        with transaction.atomic(), acting(MACHINE, reason=_REASON):
            self.team, _ = Team.objects.get_or_create(slug=team, defaults={"name": team.replace("-", " ").capitalize()})
            self.owner = _owner(self.team, owner)

    def load(self, path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> None:
        """Load one file; `on_bytes` hears of progress. Lines that cannot be read are noted in the summary and skipped."""
        material = Material(path)
        with acting(MACHINE, reason=_REASON):
            for batch in batched(self._lines(path, material, on_bytes), _RUNS_PER_BATCH, strict=False):
                by_domain: dict[str, list[_Line]] = {}
                for line in batch:
                    by_domain.setdefault(line.run.domain, []).append(line)
                for domain, lines in by_domain.items():
                    self._store(path, domain, lines)
        self.summary.missing |= {f"{path.parent.name}/{relative}" for relative in material.missing}

    def _lines(self, path: Path, material: Material, on_bytes: Callable[[int], None]) -> Iterator[_Line]:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                on_bytes(len(raw))
                if not raw.strip():
                    continue
                try:
                    row = parse_json(raw)
                    if not isinstance(row, dict):
                        raise BadLineError("it is no JSON object")  # one place reports every bad line
                    yield _Line(number, self.reader(row, material))
                except (BadLineError, DocumentError) as error:
                    self._skip(path, number, str(error))

    def _skip(self, path: Path, number: int, reason: str) -> None:
        self.summary.bad.append(BadLine(path.name, number, reason))

    def _store(self, path: Path, domain: str, lines: list[_Line]) -> None:
        try:
            agent = self._agent(domain, lines[0].run)
            items = [self._item(agent, line.run) for line in lines]
        except DomainError as error:
            for line in lines:
                self._skip(path, line.number, str(error))
            return
        receipt = capture(agent, items)
        refused = {rejection.index for rejection in receipt.rejected}
        for rejection in receipt.rejected:
            self._skip(path, lines[rejection.index].number, rejection.reason)
        self.summary.imported += receipt.accepted
        self.summary.known += receipt.duplicates
        self._report_ends(agent, [line.run for index, line in enumerate(lines) if index not in refused])

    def _agent(self, domain: str, run: Run) -> Agent:
        slug = f"{self.format_name}-{domain}"[:60]
        if slug in self.summary.agents:
            return self.summary.agents[slug]
        with transaction.atomic():
            agent = Agent.objects.filter(slug=slug).first()
            if agent is None:
                agent = Agent(
                    team=self.team, owner=self.owner, slug=slug, name=f"{self.format_name} {domain}",
                    purpose=f"Serves customers in the domain {domain!r} of {self.format_name}; its runs were recorded elsewhere.",
                )  # fmt: skip
                agent.save(force_insert=True)
            if agent.stable_id is None:
                agent.bootstrap(run.document, by=MACHINE, reason=_REASON)
        self.summary.agents[slug] = agent
        self._digests[slug] = set(HarnessVersion.objects.filter(agent=agent).values_list("digest", flat=True))
        return agent

    def _item(self, agent: Agent, run: Run) -> dict[str, Any]:
        digest = digest_of(run.document)
        if digest not in self._digests[agent.slug]:
            with transaction.atomic():
                held = Agent.objects.locked().get(pk=agent.pk)
                HarnessVersion.create(agent=held, document=run.document, parent=None, by=MACHINE, note=_REASON)
            self._digests[agent.slug].add(digest)
        return {**run.item, "harness_digest": digest}

    def _report_ends(self, agent: Agent, runs: list[Run]) -> None:
        """Report how runs ended, as the customer's system would; a repeated report is recognized."""
        ended = {run.item["id"]: run for run in runs if run.end}
        rows = Episode.objects.filter(agent=agent, external_id__in=ended).select_related("agent__policy")
        for episode in rows:
            run = ended[episode.external_id]
            _, is_new = report_outcome(
                episode, name=run.end, source="customer", by=MACHINE,
                at=episode.ended_at or episode.started_at, reason=run.end_reason,
            )  # fmt: skip
            self.summary.outcomes += is_new


def _owner(team: Team, username: str) -> User:
    """Return who answers for imported agents: the person named, an administrator of the team, or a closed account."""
    if username:
        named = User.objects.filter(username=username, is_active=True).first()
        if named is None:
            raise DomainError(
                f"There is no active user {username!r} to own imported agents. Name another with --owner."
            )
        return cast("User", named)
    administrators = Membership.objects.filter(team=team, role=Role.ADMINISTRATOR, user__is_active=True)
    found = administrators.select_related("user").order_by("created_at").first()
    if found is not None:
        return found.user
    # Nobody can log in as it; an administrator of the team takes the agents over.
    account, is_new = User.objects.get_or_create(username="importer", defaults={"is_active": False})
    if is_new:
        account.set_unusable_password()
        account.save()
    return cast("User", account)
