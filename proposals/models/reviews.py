"""Who wrote a proposal, what it rests on, and what people said of it."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from accounts.acting import Actor, acting
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from episodes.models import Episode
from proposals.models.proposal import Proposal
from proposals.querysets import GovernedOfProposalQuerySet, OfProposalQuerySet

__all__ = ["Author", "Evidence", "Review"]


class Author(models.Model):
    """A person who wrote or amended a proposal, and so cannot approve it."""

    AGENT_PATH: ClassVar[str] = "proposal__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="authors")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(db_default=Now())

    objects = OfProposalQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("proposal", "user"), name="author_once"),)

    def __str__(self) -> str:
        return f"{self.user} wrote {self.proposal}"


class Evidence(models.Model):
    """An episode a proposal rests on, with the words it quotes. Append-only."""

    AGENT_PATH: ClassVar[str] = "proposal__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="evidence")
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="+")
    quote = models.TextField(blank=True)

    objects = OfProposalQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "evidence"
        constraints = (models.UniqueConstraint(fields=("proposal", "episode"), name="evidence_once"),)

    def __str__(self) -> str:
        return self.quote[:80] or str(self.episode)


class Review(models.Model):
    """What a person decided or remarked, bound to exactly what they looked at."""

    class Decision(models.TextChoices):
        APPROVE = "approve", "Approve"
        COMMENT = "comment", "Comment"

    AGENT_PATH: ClassVar[str] = "proposal__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="reviews")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    decision = models.CharField(max_length=8, choices=Decision.choices)
    comment = models.TextField(blank=True)
    digest = models.CharField(max_length=64)
    claim_digest = models.CharField(
        max_length=64, blank=True, help_text="Candidate, claim, reasons and evidence as seen."
    )
    run_ref = models.UUIDField(null=True)
    is_simulated = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    objects = GovernedOfProposalQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("proposal", "reviewer", "digest", "claim_digest", "run_ref"),
                condition=models.Q(decision="approve"),
                name="approval_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_decision_display()} by {self.reviewer}"

    @classmethod
    def approve(cls, proposal: Proposal, *, by: Actor, comment: str) -> None:
        """Write the approval down once per person, candidate and run."""
        with acting(by, reason=comment):
            cls.objects.get_or_create(
                proposal=proposal,
                reviewer_id=by.user_id,
                digest=proposal.candidate_digest,
                run_ref=proposal.run_ref,
                claim_digest=proposal.claim_digest(),
                decision=cls.Decision.APPROVE,
                defaults={"comment": comment, "is_simulated": by.is_simulated},
            )
