"""What a person fills in to write or amend a proposal."""

from typing import Any
from uuid import UUID

from django import forms
from pydantic import BaseModel, Field

from accounts.acting import Actor
from audit.forms import DeskForm, DocumentField
from episodes.models import Episode, Pattern
from harness.documents import LAYERS
from harness.models import Agent
from proposals.drafting import Quote, candidate_document, edit_of_layer
from proposals.models import Proposal

__all__ = ["Amendment", "ProposalForm", "amend_layer", "as_amendment"]

_MAX_EVIDENCE = 50


class Amendment(BaseModel):
    """What an amendment of a draft sets."""

    title: str = Field(max_length=200)
    claim: str = Field(max_length=12, description="fixes, cheaper, faster, simplifies or enables")
    value: dict[str, Any] = Field(
        title="Layer", description="The whole layer as it shall be; the platform computes the patch."
    )
    rationale: str = Field(max_length=8_000)


def as_amendment(proposal: Proposal) -> dict[str, Any]:
    """Return what an amendment starts from: the draft as it is."""
    return {
        "title": proposal.title, "claim": proposal.claim, "rationale": proposal.rationale,
        "value": candidate_document(proposal).get(proposal.layer, {}),
    }  # fmt: skip


def amend_layer(proposal: Proposal, *, by: Actor, reason: str, value: dict[str, Any], **texts: Any) -> str:
    """Amend a draft from the layer's new value; whoever amends counts as an author from then on."""
    patch = edit_of_layer(proposal.base, proposal.layer, value)
    changes = texts if patch == proposal.patch or not patch else {**texts, "patch": patch}
    proposal.amend(by=by, reason=reason, **changes)
    return f"Revision {proposal.revision} is written; you count as one of its authors now."


class ProposalForm(DeskForm):
    """A person's change: one layer as it shall be, why, and the episodes that show why."""

    agent = forms.ModelChoiceField(Agent.objects.none(), to_field_name="slug", widget=forms.HiddenInput())
    layer = forms.ChoiceField(choices=[(layer, layer) for layer in LAYERS], widget=forms.HiddenInput())
    pattern = forms.ModelChoiceField(Pattern.objects.none(), required=False, widget=forms.HiddenInput())
    retry_of = forms.ModelChoiceField(Proposal.objects.none(), required=False, widget=forms.HiddenInput())
    title = forms.CharField(max_length=200, help_text="What changes, in a few words.")
    value = DocumentField(
        rows=22,
        label="The layer as it shall be",
        help_text="Edit what you see; the platform computes the patch and its size.",
    )
    claim = forms.ChoiceField(
        choices=Proposal.Claim.choices, help_text="Picks the primary test; it cannot change after submission."
    )
    rationale = forms.CharField(
        max_length=8_000, widget=forms.Textarea(attrs={"rows": 4}), help_text="Why this change is right."
    )
    target_intents = forms.MultipleChoiceField(
        required=False, widget=forms.SelectMultiple(attrs={"size": 6}), help_text="The wants this change is for."
    )
    gain = forms.FloatField(
        required=False, min_value=0, max_value=1, label="Predicted gain", widget=forms.NumberInput(attrs={"step": "0.01"}),
        help_text="On those wants, 0 to 1; decides how many cases the test needs.",
    )  # fmt: skip
    evidence = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="One episode a line, by id; after a | the words it says, quoted exactly.",
    )

    def prepare(self) -> None:
        visible = Agent.objects.visible_to(self.actor).select_related("stable", "policy")
        self._choose("agent", visible)
        self._choose("pattern", Pattern.objects.visible_to(self.actor))
        self._choose("retry_of", Proposal.objects.visible_to(self.actor))
        agent = visible.filter(slug=self.data.get("agent") or self.initial.get("agent", "")).first()
        intents = agent.intents.current() if agent else ()
        wanted = self.fields["target_intents"]
        assert isinstance(wanted, forms.MultipleChoiceField)  # declared above
        wanted.choices = [(intent.slug, intent.name) for intent in intents]
        if isinstance(self.initial.get("target_intents"), str):
            self.initial["target_intents"] = self.initial["target_intents"].split(",")
        if self.initial.get("episodes"):
            self.initial["evidence"] = "\n".join(str(self.initial["episodes"]).split(","))
        if agent and agent.stable:
            layer = self.initial.get("layer", "")
            earlier = agent.versions.filter(pk=self.initial["version"]).first() if self._names_version() else None
            self.fields["value"].initial = (earlier or agent.stable).document.get(layer, {})
            if earlier is not None:
                self.fields["title"].initial = f"Restore {layer} of version {earlier.number}"

    def _names_version(self) -> bool:
        return _is_uuid(str(self.initial.get("version", "")))

    def _choose(self, name: str, rows: Any) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ModelChoiceField)  # declared above
        field.queryset = rows

    def clean_evidence(self) -> list[Quote]:
        agent = self.cleaned_data.get("agent")
        lines = [line.strip() for line in self.cleaned_data["evidence"].splitlines() if line.strip()]
        if len(lines) > _MAX_EVIDENCE:
            raise forms.ValidationError(f"Name at most {_MAX_EVIDENCE} episodes; these are {len(lines)}.")
        episodes = Episode.objects.visible_to(self.actor).filter(agent=agent)
        return [self._quote(line, episodes) for line in lines]

    def _quote(self, line: str, episodes: Any) -> Quote:
        name, _, words = (part.strip() for part in line.partition("|"))
        found = episodes.filter(pk=name) if _is_uuid(name) else episodes.filter(external_id=name)
        episode = found.first()
        if episode is None:
            raise forms.ValidationError(f"No episode {name!r} of this agent is visible to you.")
        return Quote(episode, words)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        agent, value = data.get("agent"), data.get("value")
        if agent is None or value is None:
            return data
        if agent.stable is None:
            raise forms.ValidationError(f"{agent} has no stable version yet: give it its first document.")
        if not isinstance(value, dict):
            self.add_error("value", "A layer is a JSON object.")
            return data
        data["patch"] = edit_of_layer(agent.stable, data["layer"], value)
        if not data["patch"]:
            self.add_error("value", "Nothing is changed yet: this is the stable version's layer.")
        return data


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
