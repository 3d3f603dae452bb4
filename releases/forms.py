"""What people fill in to plan a release and to write a user's own layer."""

from typing import Any

from django import forms

from audit.forms import DeskForm, DocumentField
from harness.models import Agent
from proposals.models import Proposal
from releases.models import UserState

__all__ = ["ReleaseForm", "UserStateForm"]

_EMPTY_OVERLAY: dict[str, Any] = {"memory": {"user": {}}, "prompt": {"preferences": {}}}


def _offer(form: DeskForm, name: str, rows: Any) -> None:
    field = form.fields[name]
    assert isinstance(field, forms.ModelChoiceField)  # declared as one
    field.queryset = rows


class ReleaseForm(DeskForm):
    """An approved proposal and why it goes out; the plan comes from the agent's policy."""

    proposal = forms.ModelChoiceField(Proposal.objects.none())
    reason = forms.CharField(max_length=4_000, widget=forms.Textarea(attrs={"rows": 3}))

    is_hotfix = forms.BooleanField(
        required=False, help_text="Urgent: the cool-down after a rollback does not hold it back."
    )
    overlap_accepted = forms.BooleanField(
        required=False, help_text="It may overlap an open aftermath, whose verdict is then marked as confounded."
    )

    def prepare(self) -> None:
        _offer(self, "proposal", Proposal.objects.visible_to(self.actor).filter(status="approved"))


class UserStateForm(DeskForm):
    """One user's own layer: `memory.user.*` and `prompt.preferences.*`, nothing else."""

    agent = forms.ModelChoiceField(Agent.objects.none(), to_field_name="slug")
    subject = forms.CharField(max_length=200, help_text="The user's id, as the agent reports it.")
    overlay = DocumentField(rows=10, initial=_EMPTY_OVERLAY)
    reason = forms.CharField(max_length=4_000, widget=forms.Textarea(attrs={"rows": 2}))

    def prepare(self) -> None:
        _offer(self, "agent", Agent.objects.visible_to(self.actor))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if UserState.objects.filter(agent=data.get("agent"), subject=data.get("subject")).exists():
            raise forms.ValidationError("This user has a layer already: open it and write it anew there.")
        return data
