"""Say what draft cases expect: one by one, or all drafts of a correction in one act."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery

from accounts.access import can, require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError, NotPermittedError
from accounts.roles import Permission
from audit.record import record
from episodes.door import redacted
from episodes.models import CorrectedEpisode, Intent
from evals.episode_facts import corrected_of, lived_of
from evals.exceptions import NotDraftError
from evals.expecting import Lived, as_expectations, propose
from evals.models import Benchmark, Case
from evals.querysets import CaseQuerySet
from evals.scoring import validate_expectations
from evals.secrecy import EXAM_SPLITS
from harness.canonical import clean_json

__all__ = [
    "KEEP", "accept_correction", "label", "label_by_corrections", "label_correction", "may_review", "restore_label", "reviewable",
    "siblings_of", "why_expected",
]  # fmt: skip

KEEP = "\x00keep"  # no slug
_LABEL = ("expectations", "kind", "intent", "author")


def may_review(case: Case, by: Actor) -> bool:
    """Return whether `by` may say what a draft expects: whoever may edit the benchmark and read this case."""
    scope = case.access_scope()
    if not can(by, Permission.EDIT_BENCHMARK, scope):
        return False
    own = case.author_id is not None and case.author_id == by.user_id
    return case.split not in EXAM_SPLITS or own or can(by, Permission.READ_EXAM, scope)


def reviewable(benchmark: Benchmark, by: Actor) -> CaseQuerySet:
    """Return the benchmark's cases that `by` may read, as `may_review` says it of each."""
    rows: CaseQuerySet = benchmark.cases.all()
    if can(by, Permission.READ_EXAM, benchmark.agent.access_scope()):
        return rows
    return rows.filter(~Q(split__in=EXAM_SPLITS) | Q(author_id=by.user_id, author__isnull=False))


@transaction.atomic
def label(
    case: Case, expectations: Mapping[str, Any], *, by: Actor, kind: str = "", intent: str = KEEP, reason: str = ""
) -> None:
    """Say what a draft expects, and where given its kind and its intent's slug (empty for none).

    Who changes what it expects becomes its author, and so proposes nothing that it judges. Raises `NotDraftError`,
    `NotPermittedError`, `UnknownExpectationError`.
    """
    with case.locked():
        _authorize(case, by)
        if case.status != Case.Status.DRAFT:
            raise NotDraftError(f"{case} is {case.status}: only drafts are labelled. Reopen it, or write it anew.")
        validate_expectations(expectations)
        fields = []
        if kind:
            if kind not in Case.Kind.values:
                raise DomainError(f"{kind!r} is no kind of case; the kinds are {', '.join(Case.Kind.values)}.")
            case.kind = kind
            fields.append("kind")
        if intent != KEEP:
            case.intent = _intent(case, intent)
            fields.append("intent")
        if dict(expectations) != case.expectations:
            case.expectations = clean_json(dict(expectations))
            case.author_id = by.user_id
            fields += ["expectations", "author"]
        _write(case, fields, by, reason or "labelled")


@transaction.atomic
def label_correction(
    case: Case, expectations: Mapping[str, Any], *, by: Actor, kind: str = "", intent: str = KEEP, reason: str = ""
) -> list[Case]:
    """Label a draft and, in the same act, every waiting draft of its correction that `by` may review; return them all.

    Arguments of a tool that the correction gives for one episode stay that episode's own.
    """
    label(case, expectations, by=by, kind=kind, intent=intent, reason=reason)
    changed = [case]
    for sibling in siblings_of(case, by):
        cover = CorrectedEpisode.objects.filter(correction=case.correction_id, episode=sibling.episode_id).first()
        label(sibling, _for_episode(expectations, cover), by=by, reason=reason or f"labelled with {case}")
        changed.append(sibling)
    return changed


@transaction.atomic
def accept_correction(case: Case, *, by: Actor, reason: str = "") -> list[Case]:
    """Put a draft and every waiting draft of its correction in use, as far as `by` may review them; return them all."""
    accepted = [case, *siblings_of(case, by)]
    for one in accepted:
        _authorize(one, by)
        one.activate(by=by, reason=reason or "accepted with the others of its correction")
    return accepted


@transaction.atomic
def restore_label(case: Case, version: UUID, *, by: Actor) -> None:
    """Give a draft the label that a version of its history had; its text never changed."""
    before = case.history.filter(history_id=version).first()
    if before is None:
        raise DomainError(f"{case} has no version {version} in its history: look at its page.")
    with case.locked():
        _authorize(case, by)
        if case.status != Case.Status.DRAFT:
            raise NotDraftError(f"{case} is {case.status}: reopen it before its label is restored.")
        case.expectations, case.kind = before.expectations, before.kind
        case.intent_id, case.author_id = before.intent_id, before.author_id
        _write(case, _LABEL, by, "label restored")


def siblings_of(case: Case, by: Actor) -> list[Case]:
    """Return the other waiting drafts that the same correction labels and that `by` may review."""
    if case.correction_id is None:
        return []
    rows = reviewable(case.benchmark, by).drafts().filter(correction=case.correction_id).exclude(pk=case.pk)
    return list(rows.select_related("benchmark__agent", "episode").order_by("pk"))


def label_by_corrections(*, by: Actor) -> int:
    """Give drafts what the newest correction of their episode says; return how many changed.

    Drafts that a person labelled keep what the person said.
    """
    newest = CorrectedEpisode.objects.filter(episode=OuterRef("episode")).order_by("-id").values("correction")[:1]
    rows = Case.objects.drafts().filter(author__isnull=True, episode__isnull=False).annotate(said=Subquery(newest))
    changed = 0
    news = rows.filter(Q(correction__isnull=True) | ~Q(correction=F("said")), said__isnull=False)
    for key in news.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            case = Case.objects.locked().select_related("benchmark__agent").get(pk=key)
            if case.status == Case.Status.DRAFT and case.author_id is None:
                _take_correction(case, by)
                changed += 1
    return changed


def _take_correction(case: Case, by: Actor) -> None:
    cover = CorrectedEpisode.objects.filter(episode=case.episode_id).select_related("correction").order_by("-id")[0]
    case.correction = cover.correction
    fields = ["correction"]
    kinds = case.benchmark.agent.current_policy().redaction.kinds
    said = redacted(as_expectations(propose(Lived(correction=corrected_of(cover)))), kinds)
    if said:
        case.expectations = clean_json(said)
        fields.append("expectations")
    if cover.correction.should_escalate:
        case.kind = Case.Kind.HIGH_RISK
        fields.append("kind")
    elif case.kind in (Case.Kind.SUCCESS, Case.Kind.EDGE):
        case.kind = Case.Kind.KNOWN_FAILURE
        fields.append("kind")
    _write(case, fields, by, "its episode was corrected")


def why_expected(case: Case) -> dict[str, str]:
    """Return where each expectation of a case comes from, by its name; what a person wrote says so."""
    if case.author is not None:
        return dict.fromkeys(case.expectations, f"as {case.author} wrote it")
    if case.episode is None:
        return {}
    lived = replace(lived_of(case.episode), is_high_risk=case.kind == Case.Kind.HIGH_RISK)
    known = {one.name: one.why for one in propose(lived)}
    return {name: known.get(name, "as resolved conversations of its intent went") for name in case.expectations}


def _authorize(case: Case, by: Actor) -> None:
    require(by, Permission.EDIT_BENCHMARK, case.access_scope(), act=f"label {case}")
    if not may_review(case, by):
        raise NotPermittedError(
            f"{by.name} may not label {case}: it belongs to the exam, and who may not read it does not say what it expects."
        )


def _intent(case: Case, slug: str) -> Intent | None:
    if not slug:
        return None
    found = Intent.objects.filter(agent_id=case.benchmark.agent_id, slug=slug).current().first()
    if found is None:
        raise DomainError(f"There is no intent {slug!r} at {case.benchmark.agent.slug!r}; define it first.")
    return found  # type: ignore[no-any-return]  # the queryset is generic over Any


def _for_episode(expectations: Mapping[str, Any], cover: CorrectedEpisode | None) -> dict[str, Any]:
    """Return the expectations with the arguments that the correction gives for this one episode."""
    own, call = dict(expectations), expectations.get("tool_called")
    if cover is not None and cover.arguments and isinstance(call, Mapping):
        own["tool_called"] = {**call, "arguments": {**call.get("arguments", {}), **cover.arguments}}
    return own


def _write(case: Case, fields: Sequence[str], by: Actor, reason: str) -> None:
    if not fields:
        return
    with acting(by, reason=reason):
        case.save(update_fields=list(fields))
        facts = {"fields": sorted(fields), "correction": str(case.correction_id or "")}
        record("case.label", case, team_id=case.access_scope().team_id, facts=facts)
