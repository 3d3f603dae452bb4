"""Shapes of proposals on the wire."""

from typing import Any

from rest_framework import serializers

from proposals.drafting import laws_broken
from proposals.models import Evidence, Proposal, Review, Strategy

__all__ = [
    "AmendRequest", "DraftOutcome", "EvidenceDetail", "ProposalCreate", "ProposalDetail", "ProposalRow",
    "ReviewDetail", "StrategyDetail",
]  # fmt: skip


class QuoteRequest(serializers.Serializer[Any]):
    """An episode by our id, and words it says."""

    episode = serializers.UUIDField()
    quote = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class ProposalCreate(serializers.Serializer[Any]):
    """A person's change: either a whole new `value` of one `layer`, or the `patch` itself.

    What follows a failed attempt at the same `pattern` is a retry of it, named or not.
    """

    agent = serializers.SlugField()
    title = serializers.CharField(max_length=200)
    claim = serializers.ChoiceField(choices=Proposal.Claim.choices)
    rationale = serializers.CharField(max_length=8_000)
    layer = serializers.CharField(required=False, max_length=12)
    value = serializers.JSONField(required=False)
    patch = serializers.JSONField(required=False)
    evidence = QuoteRequest(many=True)
    target_intents = serializers.ListField(child=serializers.SlugField(max_length=80), required=False, default=list)
    predicted_effect = serializers.DictField(child=serializers.FloatField(), required=False, default=dict)
    pattern = serializers.UUIDField(required=False)
    retry_of = serializers.UUIDField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("patch" in attrs) == ("value" in attrs):
            raise serializers.ValidationError("Give either a patch, or a layer and its new value.")
        if "value" in attrs and not attrs.get("layer"):
            raise serializers.ValidationError("Name the layer whose value this is.")
        return attrs


class AmendRequest(serializers.Serializer[Any]):
    """What an amendment of a draft may set."""

    reason = serializers.CharField(max_length=4_000)
    title = serializers.CharField(max_length=200, required=False)
    claim = serializers.ChoiceField(choices=Proposal.Claim.choices, required=False)
    rationale = serializers.CharField(max_length=8_000, required=False)
    patch = serializers.JSONField(required=False)
    target_intents = serializers.ListField(child=serializers.SlugField(max_length=80), required=False)


class EvidenceDetail(serializers.ModelSerializer[Evidence]):
    class Meta:
        model = Evidence
        fields = ("episode", "quote")


class ReviewDetail(serializers.ModelSerializer[Review]):
    reviewer = serializers.CharField(source="reviewer.username")

    class Meta:
        model = Review
        fields = ("reviewer", "decision", "comment", "digest", "run_ref", "is_simulated", "created_at")


class ProposalRow(serializers.ModelSerializer[Proposal]):
    agent = serializers.CharField(source="agent.slug")
    strategy = serializers.CharField(source="strategy.slug", default=None)

    class Meta:
        model = Proposal
        fields = (
            "id", "agent", "title", "layer", "claim", "status", "size", "source", "strategy", "pattern", "base",
            "candidate", "candidate_digest", "verdict", "run_ref", "approvals_needed", "target_intents", "created_at",
        )  # fmt: skip


class ProposalDetail(ProposalRow):
    evidence = EvidenceDetail(many=True)
    reviews = ReviewDetail(many=True)
    laws_broken = serializers.SerializerMethodField()

    class Meta(ProposalRow.Meta):
        fields = (
            *ProposalRow.Meta.fields, "patch", "rationale", "predicted_effect", "drafted_cases", "verdict_summary",
            "effect", "revision", "retry_of", "evidence", "reviews", "laws_broken",
        )  # type: ignore[assignment]  # a longer tuple of names  # fmt: skip

    def get_laws_broken(self, proposal: Proposal) -> list[dict[str, str]]:
        if proposal.status != Proposal.Status.DRAFT:
            return []
        return [{"code": law.code, "sentence": law.sentence} for law in laws_broken(proposal)]


class StrategyDetail(serializers.ModelSerializer[Strategy]):
    class Meta:
        model = Strategy
        fields = ("slug", "name", "layer", "description", "is_enabled")


class DraftOutcome(serializers.Serializer[Any]):
    """What the strategies wrote for a pattern, and why others declined."""

    proposals = ProposalRow(many=True)
    declined = serializers.ListField(child=serializers.CharField())
