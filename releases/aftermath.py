"""The end of a release's story: did it do what its proposal claimed, and what is worth keeping of it."""

from django.utils import timezone

from accounts.acting import MACHINE, Actor, acting
from accounts.exceptions import NotPermittedError
from audit.record import record, reference
from episodes.models import Pattern
from harness.models import Revision
from lessons.memory import meaning
from lessons.models import Lesson
from proposals.models import Proposal
from releases.exceptions import ReleaseRefusedError
from releases.guard import GuardReading
from releases.models import Release
from releases.promotion import Aftermath, AftermathReading

__all__ = ["close", "confounded_by", "keep_lesson", "outlived"]


def confounded_by(release: Release) -> str | None:
    """Return the name of a release that touched the same layer or intents while this one was watched, or None."""
    later = Release.objects.filter(agent_id=release.agent_id, started_at__gt=release.started_at).exclude(pk=release.pk)
    mine = frozenset(release.plan.get("target_intents", ()))
    for other in later.select_related("proposal", "version__agent").order_by("started_at"):
        if other.proposal.layer == release.proposal.layer or mine & frozenset(other.plan.get("target_intents", ())):
            return str(other.version)
    return None


def outlived(release: Release, alarm: GuardReading, reading: AftermathReading) -> AftermathReading:
    """Return the end of an aftermath whose alarm came when another version was stable already.

    Nothing can be put back any more: the claim to be harmless failed, and people are told where the harm lives on.
    """
    stable = release.agent.stable
    assert stable is not None  # this version was
    sentence = (
        f"Harm was seen when {stable} was stable already, so that {release.version} cannot be rolled back any more: "
        f"{alarm.sentence} If {stable} still contains the change, release one that reverts it."
    )
    evidence = {**reading.evidence, "alarm": alarm.to_mapping(), "stable": stable.number}
    return AftermathReading(Aftermath.NOT_FIXED, sentence, evidence)


def close(release: Release, reading: AftermathReading, *, by: Actor) -> None:
    """End the aftermath with its verdict: the hold-out goes, proposal and pattern learn of it, a lesson is kept.

    Closing twice changes nothing. Only the machine closes, from what it measured.
    """
    if not by.is_machine:
        raise NotPermittedError(f"Nobody closes the aftermath of {release} by hand: its verdict is measured.")
    if reading.outcome is Aftermath.WATCHING:
        raise ReleaseRefusedError(f"The aftermath of {release} is not over. {reading.sentence}")
    with release.locked():
        if release.status != Release.Status.PROMOTED or release.aftermath_closed_at is not None:
            return
        release.aftermath_closed_at = release.ended_at = timezone.now()
        release.effect = reading.outcome.value
        release.effect_reading = {"sentence": reading.sentence, **reading.evidence}
        with acting(by, reason=reading.sentence):
            release.save(update_fields=["aftermath_closed_at", "ended_at", "effect", "effect_reading"])
            record(
                "release.close_aftermath", release, digest=release.version.digest, team_id=release.agent.team_id,
                facts={"effect": release.effect, "interval": reading.evidence.get("interval")},
            )  # fmt: skip
            if "alarm" in reading.evidence:
                facts = {"alarm": reading.evidence["alarm"]["code"], "stable": reading.evidence["stable"]}
                record(
                    "release.harm_outlived", release, digest=release.version.digest, team_id=release.agent.team_id,
                    facts=facts,
                )  # fmt: skip
        _tell(release, reading)
        keep_lesson(release, reading.sentence)
        Revision.bump()


def _tell(release: Release, reading: AftermathReading) -> None:
    proposal, pattern = release.proposal, release.proposal.pattern
    verb = {
        Aftermath.VERIFIED: "verify",
        Aftermath.NOT_FIXED: "mark_not_fixed",
        Aftermath.CONFOUNDED: "mark_confounded",
    }[reading.outcome]
    if proposal.status in Proposal.edge(verb).sources:
        getattr(proposal, verb)(by=MACHINE, reason=reading.sentence, effect=dict(reading.evidence))
    if pattern is None:
        return
    if reading.outcome is Aftermath.VERIFIED and pattern.status in Pattern.edge("resolve").sources:
        pattern.resolve(by=MACHINE, reason=reading.sentence)
    elif reading.outcome is Aftermath.NOT_FIXED and pattern.status in Pattern.edge("fail_fix").sources:
        pattern.fail_fix(by=MACHINE, reason=reading.sentence)


def keep_lesson(release: Release, sentence: str) -> Lesson:
    """Keep what this release taught, once: its change, its target, its measured end. No user's words are in it."""
    proposal = release.proposal
    targets = ", ".join(release.plan.get("target_intents", ())) or "no named intent"
    ended = release.get_effect_display().lower() if release.effect else release.get_status_display().lower()
    text = f"{proposal.title} (layer {proposal.layer}, claim {proposal.claim}, for {targets}) was {ended}. {sentence}"
    embedding, model = meaning(text)
    return Lesson.record(
        agent=release.agent, text=text, source_ref=reference(release), layer=proposal.layer, state=Lesson.State.CONFIRMED,
        by=MACHINE, embedding=embedding, embedding_model=model,
    )  # fmt: skip
