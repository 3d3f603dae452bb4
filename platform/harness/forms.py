"""What people fill in to make agents, keys and changes."""

from django import forms
from pydantic import BaseModel, Field

from accounts.models import Membership, Team
from accounts.roles import AGENT_KEY_SCOPES, Permission
from audit.forms import DeskForm, DocumentField
from harness.models import Agent, ApiKey, Change, in_force

__all__ = ["EMPTY_DOCUMENT", "AgentForm", "ApiKeyForm", "ChangeForm", "StartingDocument"]

EMPTY_DOCUMENT: dict[str, object] = {
    "prompt": {"system": "", "rules": {}},
    "tools": {},
    "context": {"documents": {}, "retrieval": {"top_k": 3}},
}


class StartingDocument(BaseModel):
    """The document that becomes version 1."""

    document: dict[str, object] = Field(description="The harness as one JSON document.")


class AgentForm(DeskForm):
    """A new agent with the document it serves first."""

    team = forms.ModelChoiceField(Team.objects.none())
    slug = forms.SlugField(max_length=60, help_text="Its name in addresses and keys; it never changes.")
    name = forms.CharField(max_length=120)
    purpose = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), help_text="What it is for, in a sentence."
    )
    runner = forms.ChoiceField(
        choices=Agent.Runner.choices,
        initial=Agent.Runner.HTTP,
        required=False,
        help_text="Who plays a harness in validation.",
    )
    endpoint = forms.URLField(
        required=False,
        assume_scheme="https",
        help_text="Where validation plays a harness: its own service, or the base URL of a model's API (empty: the "
        "platform's).",
    )
    document = DocumentField(
        required=False,
        help_text="Version 1, served at once. Empty: the agent waits for its first document, which can be adopted from "
        "the traces it sends.",
    )

    def prepare(self) -> None:
        managed = Membership.objects.of(self.actor).granting(Permission.MANAGE_AGENT).filter(agent_id__isnull=True)
        teams = self.fields["team"]
        assert isinstance(teams, forms.ModelChoiceField)  # declared above
        teams.queryset = Team.objects.filter(pk__in=managed.values("team_id"))
        teams.initial = teams.queryset.first()

    def clean_runner(self) -> str:
        return str(self.cleaned_data["runner"] or Agent.Runner.HTTP)

    def clean_slug(self) -> str:
        slug = str(self.cleaned_data["slug"])
        if Agent.objects.filter(slug=slug).exists():
            raise forms.ValidationError(f"{slug!r} is taken: slugs are unique in the whole installation.")
        return slug


class ApiKeyForm(DeskForm):
    """A new key: an agent's own, or one that acts for the person who makes it."""

    kind = forms.ChoiceField(
        choices=ApiKey.Kind.choices,
        help_text="An agent's key serves and reports for that agent; a person's key acts for you.",
    )
    name = forms.CharField(max_length=120, help_text="Where the key is used.")
    agent = forms.ModelChoiceField(Agent.objects.none(), required=False, help_text="For an agent's key only.")
    scopes = forms.MultipleChoiceField(
        choices=[
            ("Agents' keys", [(scope, scope) for scope in sorted(AGENT_KEY_SCOPES)]),
            ("Persons' keys", [(str(scope), str(scope)) for scope in Permission]),
        ],
        widget=forms.SelectMultiple(attrs={"size": 10}),
        help_text="What the key may do; several with Ctrl or Command.",
    )
    expires_at = forms.DateTimeField(
        required=False,
        widget=forms.TextInput(attrs={"type": "datetime-local"}),
        help_text="In UTC. Empty: it does not expire.",
    )

    def prepare(self) -> None:
        agents = self.fields["agent"]
        assert isinstance(agents, forms.ModelChoiceField)  # declared above
        agents.queryset = Agent.objects.visible_to(self.actor)


class ChangeForm(DeskForm):
    """A change of what proposals may not touch; opened with an agent and a kind, it starts from what is in force."""

    agent = forms.ModelChoiceField(Agent.objects.none(), to_field_name="slug")
    kind = forms.ChoiceField(choices=Change.Kind.choices)
    document = DocumentField(rows=28, help_text="The whole new document.")
    rationale = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), max_length=4_000)

    def prepare(self) -> None:
        agents = self.fields["agent"]
        assert isinstance(agents, forms.ModelChoiceField)  # declared above
        agents.queryset = visible = Agent.objects.visible_to(self.actor).select_related("policy", "objective")
        agent = visible.filter(slug=self.initial.get("agent", "")).first()
        if agent is not None and self.initial.get("kind") in Change.Kind.values:
            self.fields["document"].initial = in_force(agent, self.initial["kind"])
