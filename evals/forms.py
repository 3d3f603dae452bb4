"""What people fill in to make benchmarks, cases and runs."""

from typing import Any

from django import forms

from accounts.exceptions import DomainError
from audit.forms import DeskForm, DocumentField
from episodes.models import Intent
from evals.models import Benchmark, Case
from evals.scoring import validate_expectations
from harness.models import Agent
from proposals.models import Proposal

__all__ = ["BenchmarkForm", "CaseEdit", "CaseForm", "RunForm"]

_MESSAGES = [{"role": "user", "content": ""}]
_EXPECTATIONS = {"contains": [""]}


def _offer(form: DeskForm, name: str, rows: Any) -> None:
    field = form.fields[name]
    assert isinstance(field, forms.ModelChoiceField)  # declared as one
    field.queryset = rows


class BenchmarkForm(DeskForm):
    """A named set of cases; the agent's first is active at once."""

    agent = forms.ModelChoiceField(Agent.objects.none(), to_field_name="slug")
    name = forms.CharField(max_length=120)
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))

    def prepare(self) -> None:
        _offer(self, "agent", Agent.objects.visible_to(self.actor))


class CaseForm(DeskForm):
    """One example, added as a draft."""

    benchmark = forms.ModelChoiceField(Benchmark.objects.none())
    name = forms.CharField(max_length=160)
    kind = forms.ChoiceField(choices=Case.Kind.choices)
    split = forms.ChoiceField(choices=Case.Split.choices, help_text="Drafters read development cases and no others.")
    intent = forms.ModelChoiceField(Intent.objects.none(), required=False)
    cluster = forms.CharField(
        max_length=160,
        required=False,
        help_text="The coarsest known of template, source conversation, user. Empty: its name.",
    )
    weight = forms.FloatField(initial=1.0, min_value=0, widget=forms.NumberInput(attrs={"step": "any"}))
    messages = DocumentField(rows=6, initial=_MESSAGES, help_text="The conversation up to the turn that is judged.")
    user_state = DocumentField(rows=3, required=False, initial={})
    expectations = DocumentField(rows=6, initial=_EXPECTATIONS, help_text="What must hold of the reply.")

    def prepare(self) -> None:
        _offer(self, "benchmark", Benchmark.objects.visible_to(self.actor).select_related("agent"))
        _offer(self, "intent", Intent.objects.visible_to(self.actor).current())


class CaseEdit(forms.ModelForm[Case]):
    """An edit of a draft by its author."""

    class Meta:
        model = Case
        fields = ("name", "kind", "intent", "cluster", "weight", "messages", "user_state", "expectations")

    def clean_expectations(self) -> Any:
        expectations = self.cleaned_data["expectations"]
        try:
            validate_expectations(expectations)
        except DomainError as refusal:
            raise forms.ValidationError(str(refusal)) from refusal
        return expectations


class RunForm(DeskForm):
    """The proposal to validate now: a submitted one, or a held one that takes its next look."""

    proposal = forms.ModelChoiceField(Proposal.objects.none())
    reason = forms.CharField(max_length=4_000, required=False, widget=forms.Textarea(attrs={"rows": 2}))

    def prepare(self) -> None:
        _offer(self, "proposal", Proposal.objects.visible_to(self.actor).filter(status__in=("submitted", "held")))
