"""What people fill in to make benchmarks, cases and runs."""

from typing import Any

from django import forms
from django.template.loader import render_to_string

from accounts.exceptions import DomainError
from audit.forms import DeskForm, DocumentField
from episodes.models import Intent
from evals.conversing.reading import validate_conversation
from evals.models import Benchmark, Case
from evals.scorers.listing import rows
from evals.scorers.states import checks
from evals.scoring import validate_expectations
from harness.models import Agent
from proposals.models import Proposal

__all__ = ["BenchmarkForm", "CaseEdit", "CaseForm", "RunForm"]

_MESSAGES = [{"role": "user", "content": ""}]
_EXPECTATIONS = {"contains": [""]}
_CONVERSATION_HELP = (
    "How the user goes on; {} for a single turn. A script: "
    '{"kind": "scripted", "turns": [{"say": "My order is 4711.", "unless": {"contains": "refunded"}}]}. '
    'A simulated user: {"kind": "simulated", "goal": "Return the shoes.", "met_when": {"contains": "30 days"}, '
    '"facts": {"order number": "4711"}, "patience": 4}.'
)


def _offer(form: DeskForm, name: str, rows: Any) -> None:
    field = form.fields[name]
    assert isinstance(field, forms.ModelChoiceField)  # declared as one
    field.queryset = rows


def _expectations_help() -> str:
    """Return what may be expected, from the registry, as help beside the field."""
    return render_to_string("evals/expectations.html", {"scorers": list(rows()), "checks": sorted(checks())})


class BenchmarkForm(DeskForm):
    """A named set of cases; the agent's first is active at once."""

    agent = forms.ModelChoiceField(Agent.objects.none(), to_field_name="slug")
    name = forms.CharField(max_length=120)
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    scored_outside = forms.BooleanField(
        required=False, help_text="Results of runs played elsewhere bring their own scores, which are believed."
    )

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
    conversation = DocumentField(rows=8, required=False, initial={}, help_text=_CONVERSATION_HELP)
    expectations = DocumentField(rows=6, initial=_EXPECTATIONS)

    def prepare(self) -> None:
        _offer(self, "benchmark", Benchmark.objects.visible_to(self.actor).select_related("agent"))
        _offer(self, "intent", Intent.objects.visible_to(self.actor).current())
        self.fields["expectations"].help_text = _expectations_help()


class CaseEdit(forms.ModelForm[Case]):
    """An edit of a draft by its author."""

    class Meta:
        model = Case
        fields = (
            "name", "kind", "intent", "cluster", "weight", "messages", "user_state", "conversation", "expectations",
        )  # fmt: skip
        help_texts = {"conversation": _CONVERSATION_HELP}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "expectations" in self.fields:  # who may not read it has no such field
            self.fields["expectations"].help_text = _expectations_help()

    def clean_expectations(self) -> Any:
        expectations = self.cleaned_data["expectations"]
        try:
            validate_expectations(expectations)
        except DomainError as refusal:
            raise forms.ValidationError(str(refusal)) from refusal
        return expectations

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        cleaned["conversation"] = cleaned.get("conversation") or {}
        messages = cleaned.get("messages")
        try:
            validate_conversation(cleaned["conversation"], messages if isinstance(messages, list) else [])
        except DomainError as refusal:
            self.add_error("conversation", str(refusal))
        return cleaned


class RunForm(DeskForm):
    """The proposal to validate now: a submitted one, or a held one that takes its next look."""

    proposal = forms.ModelChoiceField(Proposal.objects.none())
    is_played_elsewhere = forms.BooleanField(
        required=False, help_text="Its cases are fetched and its results posted by a key with the scope 'run:play'."
    )
    reason = forms.CharField(max_length=4_000, required=False, widget=forms.Textarea(attrs={"rows": 2}))

    def prepare(self) -> None:
        _offer(self, "proposal", Proposal.objects.visible_to(self.actor).filter(status__in=("submitted", "held")))
