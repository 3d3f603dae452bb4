"""Shapes of releases and user state on the wire."""

from typing import Any

from rest_framework import serializers

from releases.models import GuardTick, Release, ReleaseApproval
from releases.planning import foreseen

__all__ = [
    "ApproveRequest", "ReleaseCreate", "ReleaseDetail", "ReleaseRow", "TickDetail", "UserStateDetail",
    "UserStateWrite",
]  # fmt: skip


class ReleaseCreate(serializers.Serializer[Any]):
    """An approved proposal, why it goes out, and what its plan shall differ in from the policy's."""

    proposal = serializers.UUIDField()
    reason = serializers.CharField(max_length=4_000)
    plan = serializers.DictField(required=False, default=dict)
    is_hotfix = serializers.BooleanField(required=False, default=False)
    overlap_accepted = serializers.BooleanField(required=False, default=False)


class ApproveRequest(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=4_000)
    plan_digest = serializers.CharField(max_length=64)


class ApprovalDetail(serializers.ModelSerializer[ReleaseApproval]):
    approver = serializers.CharField(source="approver.username")

    class Meta:
        model = ReleaseApproval
        fields = ("approver", "comment", "plan_digest", "version_digest", "is_simulated", "expires_at", "created_at")


class ReleaseRow(serializers.ModelSerializer[Release]):
    agent = serializers.CharField(source="agent.slug")
    version = serializers.IntegerField(source="version.number")
    digest = serializers.CharField(source="version.digest")
    baseline = serializers.IntegerField(source="baseline.number")
    effect = serializers.ChoiceField(choices=Release.Effect.choices, allow_blank=True, read_only=True)

    class Meta:
        model = Release
        fields = (
            "id", "agent", "proposal", "version", "digest", "baseline", "status", "step", "weight", "reason", "plan_digest",
            "approvals_needed", "is_hotfix", "overlap_accepted", "guard_status", "guard_sentence", "effect", "started_at", "deadline_at", "promoted_at",
            "ended_at", "aftermath_closed_at", "created_at",
        )  # fmt: skip


class ReleaseDetail(ReleaseRow):
    approvals = ApprovalDetail(many=True)
    foreseen = serializers.SerializerMethodField(help_text="After how many users this plan is expected to see harm.")
    num_approvals = serializers.IntegerField(help_text="Approvals that count now.")

    class Meta(ReleaseRow.Meta):
        fields = (
            *ReleaseRow.Meta.fields,
            "plan",
            "run_ref",
            "effect_reading",
            "foreseen",
            "num_approvals",
            "approvals",
        )  # type: ignore[assignment]  # a longer tuple of names

    def get_foreseen(self, row: Release) -> str:
        return foreseen(row)


class TickDetail(serializers.ModelSerializer[GuardTick]):
    class Meta:
        model = GuardTick
        fields = ("id", "at", "stage", "weight", "status", "sentence", "reading")


class UserStateWrite(serializers.Serializer[Any]):
    """An overlay, or a change of one: `memory.user.*` and `prompt.preferences.*` only."""

    overlay = serializers.DictField()
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class UserStateDetail(serializers.Serializer[Any]):
    subject = serializers.CharField()
    overlay = serializers.DictField()
    revision = serializers.IntegerField()
