"""Shapes of agents, versions, policies, changes and keys on the wire."""

from typing import Any

from rest_framework import serializers

from harness.models import Agent, ApiKey, Change, HarnessVersion, ObjectiveVersion, PolicyVersion

__all__ = [
    "AgentChange", "AgentCreate", "AgentDetail", "BootstrapRequest", "ChangeCreate", "ChangeDetail", "DiffLine",
    "KeyDetail", "KeyIssue", "KeyOnce", "ObjectiveDetail", "PolicyDetail", "ReasonRequest", "VersionDetail", "VersionDiff",
    "VersionRow",
]  # fmt: skip


class ReasonRequest(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=4_000)


class AgentDetail(serializers.ModelSerializer[Agent]):
    team = serializers.CharField(source="team.slug")
    owner = serializers.CharField(source="owner.username")
    stable = serializers.IntegerField(source="stable.number", default=None)
    stable_digest = serializers.CharField(source="stable.digest", default=None)
    policy = serializers.IntegerField(source="policy.number", default=None)
    objective = serializers.IntegerField(source="objective.number", default=None)

    class Meta:
        model = Agent
        fields = (
            "id", "slug", "name", "purpose", "team", "owner", "level", "runner", "endpoint", "stable", "stable_digest", "policy",
            "objective", "frozen_at", "frozen_reason", "created_at",
        )  # fmt: skip


class AgentCreate(serializers.Serializer[Any]):
    """A new agent; with a document it serves version 1 at once."""

    team = serializers.SlugField(max_length=60)
    slug = serializers.SlugField(max_length=60)
    name = serializers.CharField(max_length=120)
    purpose = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)
    runner = serializers.ChoiceField(Agent.Runner.choices, required=False, default=Agent.Runner.HTTP)
    endpoint = serializers.URLField(required=False, allow_blank=True, default="")
    document = serializers.DictField(required=False)
    reason = serializers.CharField(required=False, default="added over REST", max_length=4_000)


class AgentChange(serializers.Serializer[Any]):
    """What an agent is called, what it is for and where validation finds it; what is left out stays."""

    name = serializers.CharField(required=False, max_length=120)
    purpose = serializers.CharField(required=False, allow_blank=True, max_length=4_000)
    runner = serializers.ChoiceField(Agent.Runner.choices, required=False)
    endpoint = serializers.URLField(required=False, allow_blank=True)
    reason = serializers.CharField(required=False, default="changed over REST", max_length=4_000)


class BootstrapRequest(serializers.Serializer[Any]):
    document = serializers.DictField()
    reason = serializers.CharField(max_length=4_000)


class VersionRow(serializers.ModelSerializer[HarnessVersion]):
    agent = serializers.CharField(source="agent.slug")
    parent_number = serializers.IntegerField(source="parent.number", default=None)
    is_stable = serializers.SerializerMethodField()

    class Meta:
        model = HarnessVersion
        fields = ("id", "agent", "number", "digest", "parent_number", "note", "created_by", "created_at", "is_stable")

    def get_is_stable(self, row: HarnessVersion) -> bool:
        return row.agent.stable_id == row.pk


class VersionDetail(VersionRow):
    class Meta(VersionRow.Meta):
        fields = (*VersionRow.Meta.fields, "document")  # type: ignore[assignment]  # a longer tuple of names


class DiffLine(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(["same", "added", "removed", "skipped"])
    text = serializers.CharField()


class VersionDiff(serializers.Serializer[Any]):
    """What one version says otherwise than another, for programs and for people."""

    base = serializers.CharField()
    target = serializers.CharField()
    size = serializers.IntegerField()
    patch = serializers.ListField(child=serializers.DictField())
    lines = DiffLine(many=True)


class _GoverningDetail(serializers.ModelSerializer[Any]):
    agent = serializers.CharField(source="agent.slug")


_GOVERNING = ("id", "agent", "number", "document", "digest", "created_by", "created_at")


class PolicyDetail(_GoverningDetail):
    class Meta:
        model = PolicyVersion
        fields = _GOVERNING


class ObjectiveDetail(_GoverningDetail):
    class Meta:
        model = ObjectiveVersion
        fields = _GOVERNING


class ChangeDetail(serializers.ModelSerializer[Change]):
    agent = serializers.CharField(source="agent.slug")
    proposed_by = serializers.CharField(source="proposed_by.username")
    decided_by = serializers.CharField(source="decided_by.username", default=None)
    digest = serializers.CharField(source="audit_digest", read_only=True)

    class Meta:
        model = Change
        fields = (
            "id", "agent", "kind", "document", "digest", "base_digest", "rationale", "status", "proposed_by", "proposed_at",
            "decided_by", "decided_at",
        )  # fmt: skip


class ChangeCreate(serializers.Serializer[Any]):
    """The whole new document of a policy or an objective, and why."""

    agent = serializers.SlugField(max_length=60)
    kind = serializers.ChoiceField(Change.Kind.choices)
    document = serializers.DictField()
    rationale = serializers.CharField(max_length=4_000)


class KeyDetail(serializers.ModelSerializer[ApiKey]):
    owner = serializers.CharField(source="owner.username")
    agent = serializers.CharField(source="agent.slug", default=None)

    class Meta:
        model = ApiKey
        fields = (
            "id", "kind", "name", "owner", "agent", "scopes", "prefix", "expires_at", "revoked_at", "last_used_at", "created_at",
        )  # fmt: skip


class KeyIssue(serializers.Serializer[Any]):
    """A new key: an agent's own, or one that acts for the person who makes it."""

    kind = serializers.ChoiceField(ApiKey.Kind.choices)
    name = serializers.CharField(max_length=120)
    agent = serializers.SlugField(required=False, max_length=60)
    scopes = serializers.ListField(child=serializers.CharField(max_length=40), allow_empty=False)
    expires_at = serializers.DateTimeField(required=False)


class KeyOnce(KeyDetail):
    """The key with its secret, which is shown this once."""

    secret = serializers.CharField()

    class Meta(KeyDetail.Meta):
        fields = (*KeyDetail.Meta.fields, "secret")  # type: ignore[assignment]  # a longer tuple of names
