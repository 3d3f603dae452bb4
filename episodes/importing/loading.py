"""Loads what readers read: agents and versions where missing, each episode and outcome once, bad lines by number."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.db import transaction
from django.utils.text import slugify

from accounts.acting import MACHINE, acting
from accounts.exceptions import DomainError
from accounts.models import Membership, Team, User
from accounts.roles import Role
from episodes.capture import capture
from episodes.importing.entries import BadLine, Ending, Entry, Line, Note, Options, fingerprint
from episodes.importing.files import Beside, lines_of
from episodes.importing.formats import FORMATS
from episodes.judging import Said, report_outcomes
from episodes.models import Episode, Outcome
from harness.canonical import clean_json, digest_of
from harness.models import Agent, HarnessVersion

__all__ = ["Loader", "Summary"]

_MAX_ENTRIES = 200
_MAX_CHARACTERS = 4_000_000
_KEPT_BAD_LINES = 50
_KEPT_NOTES = 50
_KEPT_DIGESTS = 1_000
_MAX_SLUG = 60
_REASON = "imported recorded runs"


@dataclass
class Summary:
    """What a load did. `bad` and `notes` keep the first ones; `num_bad` counts all."""

    imported: int = 0
    known: int = 0
    outcomes: int = 0
    num_bad: int = 0
    bad: list[BadLine] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    agents: dict[str, Agent] = field(default_factory=dict)

    def skip(self, bad: BadLine) -> None:
        self.num_bad += 1
        if len(self.bad) < _KEPT_BAD_LINES:
            self.bad.append(bad)

    def note(self, note: Note) -> None:
        if len(self.notes) < _KEPT_NOTES:
            self.notes.append(note)


@dataclass(frozen=True)
class _Stored:
    """An episode that is there: what it was made from, and when it ended."""

    pk: UUID
    fingerprint: str
    ended_at: datetime


class Loader:
    """Loads files of one format, for one agent or for agents named after the format.

    Every batch is one transaction with its outcomes, so that an abort leaves no half. Loading again imports nothing
    twice: an episode is known by its id and by the fingerprint of what it was made from, wherever it stands in which
    file, and is not read any further. Outcomes that a later export knows are added.
    """

    def __init__(
        self, format_name: str, *, team: str = "imported", owner: str = "", agent: str = "",
        options: Options | None = None, at: str | None = None,
    ) -> None:  # fmt: skip
        self.format = FORMATS[format_name]
        self.summary = Summary()
        self._beside = Beside()
        self._options = replace(options or Options(), beside=self._beside)
        self._at = at
        self._digests: dict[str, set[str]] = {}
        self._known_digests: dict[str, str] = {}
        self._agent = _agent_named(agent) if agent else None
        self._team, self._owner = team, owner

    def load(self, paths: Sequence[Path], *, on_bytes: Callable[[Path, int], None] = lambda *_: None) -> None:
        """Load files; `on_bytes` hears of progress. What cannot be read is noted in the summary and skipped."""

        def lines() -> Iterator[Line]:
            for path in paths:
                yield from lines_of(path, on_bytes=partial(on_bytes, path), on_damage=self.summary.skip)

        with acting(MACHINE, reason=_REASON):
            for batch in self._batches(self.format.read(lines(), self._options)):
                by_domain: dict[str, list[Entry]] = {}
                for entry in batch:
                    by_domain.setdefault(entry.domain, []).append(entry)
                for domain, entries in by_domain.items():
                    self._store(domain, entries)
        self.summary.missing |= self._beside.missing

    def _batches(self, read: Iterator[Entry | BadLine | Note]) -> Iterator[list[Entry]]:
        batch: list[Entry] = []
        weight = 0
        for one in read:
            if isinstance(one, BadLine):
                self.summary.skip(one)
            elif isinstance(one, Note):
                self.summary.note(one)
            else:
                try:
                    weight += len(json.dumps(one.item))
                except RecursionError:
                    self._skip(one, "it is nested too deeply")
                    continue
                batch.append(one)
                if len(batch) >= _MAX_ENTRIES or weight >= _MAX_CHARACTERS:
                    yield batch
                    batch, weight = [], 0
        if batch:
            yield batch

    def _skip(self, entry: Entry, reason: str) -> None:
        self.summary.skip(BadLine(entry.file, entry.number, reason))

    @transaction.atomic
    def _store(self, domain: str, entries: list[Entry]) -> None:
        agent = self._agent_of(domain, entries)
        if agent is None:
            return
        before = _stored(agent, entries)
        known, items, fresh = [], [], []
        for entry in entries:
            there = before.get(str(entry.item["id"]))
            if there is not None and there.fingerprint == entry.fingerprint:
                known.append(entry)
                continue
            try:
                items.append(self._item(agent, entry))
                fresh.append(entry)
            except DomainError as error:
                self._skip(entry, str(error))
        receipt = capture(agent, items)
        for rejection in receipt.rejected:
            self._skip(fresh[rejection.index], rejection.reason)
        refused = {rejection.index for rejection in receipt.rejected}
        self.summary.imported += receipt.accepted
        self.summary.known += receipt.duplicates + len(known)
        taken = [entry for index, entry in enumerate(fresh) if index not in refused]
        self._report(agent, before, known, _outcomes(before, known))
        self._report(agent, _stored(agent, taken), taken, set())

    def _agent_of(self, domain: str, entries: Sequence[Entry]) -> Agent | None:
        """Return the agent the entries belong to, made where it is missing; `None` when it cannot be."""
        if self._agent is not None:
            self._know(self._agent)
            return self._agent
        slug = _slug(self.format.name, domain)
        if slug in self.summary.agents:
            return self.summary.agents[slug]
        agent = Agent.objects.select_related("policy", "objective").filter(slug=slug).first()
        if agent is None:
            name = " ".join(f"{self.format.name} {domain}".replace("\x00", "").split())[:120]
            team, owner = _team(self._team, self._owner)
            agent = Agent(
                team=team, owner=owner, slug=slug, name=name,
                purpose=f"Holds what was imported from {self.format.name}; its runs were recorded elsewhere.",
            )  # fmt: skip
            agent.save(force_insert=True)
        if agent.stable_id is None:
            self._bootstrap(agent, entries)
        self._know(agent)
        return agent

    def _bootstrap(self, agent: Agent, entries: Sequence[Entry]) -> None:
        """Give the agent the first harness that the entries tell of and that is one; an empty one when none does."""
        for entry in entries:
            try:
                if entry.document is not None:
                    with transaction.atomic():
                        agent.bootstrap(entry.document, by=MACHINE, reason=_REASON)
                    return
            except DomainError:
                continue  # a harness that cannot be one is told by number where its entry is stored
        agent.bootstrap({}, by=MACHINE, reason=_REASON)

    def _know(self, agent: Agent) -> None:
        self.summary.agents[agent.slug] = agent
        if agent.slug not in self._digests:
            digests = HarnessVersion.objects.filter(agent=agent).values_list("digest", flat=True)
            self._digests[agent.slug] = set(digests)

    def _item(self, agent: Agent, entry: Entry) -> dict[str, Any]:
        """Return the entry as it is captured: with its harness, its fingerprint, and a time where it has none."""
        attributes = {**entry.item.get("attributes", {}), "import_digest": entry.fingerprint}
        item = {**entry.item, "harness_digest": self._harness(agent, entry)}
        if self._at and item.get("started_at") is None:
            item["started_at"], attributes["clock"] = self._at, "assumed"
        return {**item, "attributes": attributes}

    def _harness(self, agent: Agent, entry: Entry) -> str:
        """Return the digest of the version the entry ran on, made where the format's records are of versions."""
        if entry.document is None:
            return ""
        digest = self._digest(entry.document)
        if digest in self._digests[agent.slug]:
            return digest
        if not self.format.keeps_versions or self._agent is not None:
            return ""
        with transaction.atomic():
            held = Agent.objects.locked().get(pk=agent.pk)
            HarnessVersion.create(agent=held, document=entry.document, parent=None, by=MACHINE, note=_REASON)
        self._digests[agent.slug].add(digest)
        return digest

    def _digest(self, document: dict[str, Any]) -> str:
        """Return a document's digest; the last ones are remembered, since most runs of a file share theirs."""
        key = fingerprint(document)
        if key not in self._known_digests:
            if len(self._known_digests) >= _KEPT_DIGESTS:
                self._known_digests.clear()
            try:
                self._known_digests[key] = digest_of(clean_json(document))
            except DomainError:
                if self.format.keeps_versions:
                    raise
                self._known_digests[key] = ""  # it can be no harness, so it is none of the agent's
        return self._known_digests[key]

    def _report(
        self, agent: Agent, stored: dict[str, _Stored], entries: Sequence[Entry], said: set[tuple[Any, ...]]
    ) -> None:
        """Report how episodes ended, as whoever said so would; what was said before is left out."""
        missing: list[tuple[Entry, _Stored, Ending, datetime]] = []
        for entry in entries:
            there = stored.get(str(entry.item["id"]))
            if there is None:
                continue
            for ending in entry.endings:
                at = datetime.fromisoformat(ending.at) if ending.at else there.ended_at
                if (there.pk, ending.name, ending.source, ending.value, at) not in said:
                    missing.append((entry, there, ending, at))
        rows = Episode.objects.filter(pk__in={there.pk for _, there, _, _ in missing}).only("conversation_id")
        episodes = {row.pk: row for row in rows}
        for row in episodes.values():
            row.agent = agent
        told = [
            Said(episodes[there.pk], ending.name, ending.source, at, ending.value, ending.reason)
            for _, there, ending, at in missing
        ]
        try:
            self.summary.outcomes += report_outcomes(told, by=MACHINE)
        except DomainError:
            self._report_singly([entry for entry, *_ in missing], told)

    def _report_singly(self, entries: Sequence[Entry], told: Sequence[Said]) -> None:
        """Report each statement alone, so that one that is refused costs no other."""
        for entry, one in zip(entries, told, strict=True):
            try:
                self.summary.outcomes += report_outcomes([one], by=MACHINE)
            except DomainError as error:
                self._skip(entry, f"the episode is kept, its outcome is not: {error}")


def _slug(format_name: str, domain: str) -> str:
    """Return the slug of the agent for a domain; one that would be cut or lose its letters ends in a fingerprint."""
    slug = slugify(f"{format_name}-{domain}").rstrip("-")
    if len(slug) > _MAX_SLUG or (domain and slug == format_name):
        return f"{slug[: _MAX_SLUG - 9].rstrip('-')}-{fingerprint(domain)[:8]}"
    return slug


def _stored(agent: Agent, entries: Sequence[Entry]) -> dict[str, _Stored]:
    ids = [entry.item["id"] for entry in entries if "\x00" not in entry.item["id"]]
    rows = Episode.objects.filter(agent=agent, external_id__in=ids)
    columns = rows.values_list("external_id", "pk", "attributes__import_digest", "started_at", "ended_at")
    return {name: _Stored(pk, str(mark), end or start) for name, pk, mark, start, end in columns}


def _outcomes(stored: dict[str, _Stored], entries: Sequence[Entry]) -> set[tuple[Any, ...]]:
    keys = [stored[str(entry.item["id"])].pk for entry in entries if entry.endings]
    if not keys:
        return set()
    return set(Outcome.objects.filter(episode_id__in=keys).values_list("episode_id", "name", "source", "value", "at"))


def _agent_named(slug: str) -> Agent:
    agent = Agent.objects.select_related("policy", "objective").filter(slug=slug).first()
    if agent is None:
        raise DomainError(
            f"There is no agent {slug!r}. Create it in the admin, or leave --agent out and one is made for the format."
        )
    return cast("Agent", agent)


def _team(slug: str, owner: str) -> tuple[Team, User]:
    """Return the team that gets new agents, made where it is missing, and who answers for them."""
    team, _ = Team.objects.get_or_create(slug=slug, defaults={"name": slug.replace("-", " ").capitalize()})
    return team, _owner(team, owner)


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
