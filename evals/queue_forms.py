"""What people fill in to start a benchmark and to say what a draft expects."""

from typing import Any

from django import forms

from audit.forms import DeskForm, DocumentField
from episodes.models import Intent
from evals.models import Case
from evals.proposing_cases import DEFAULT_NUMBER, MAX_NUMBER, MIN_EPISODES, MIN_NUMBER
from harness.models import Agent

__all__ = ["LabelForm", "StartForm", "label_of"]

_LISTS = ("contains", "excludes", "cites")
_HANDOFF = (("", "Does not matter"), ("yes", "Must happen"), ("no", "Must not happen"))


class StartForm(DeskForm):
    """Which agent's captured episodes to draft from, and how many cases."""

    agent = forms.ModelChoiceField(
        Agent.objects.none(), to_field_name="slug", help_text=f"It needs {MIN_EPISODES} captured episodes."
    )
    number = forms.IntegerField(
        initial=DEFAULT_NUMBER, min_value=MIN_NUMBER, max_value=MAX_NUMBER, label="Cases",
        help_text="How many the benchmark should have; what it has already is counted in.",
    )  # fmt: skip

    def prepare(self) -> None:
        field = self.fields["agent"]
        assert isinstance(field, forms.ModelChoiceField)  # declared as one
        field.queryset = Agent.objects.visible_to(self.actor)


class _Lines(forms.CharField):
    """Phrases, one a line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=forms.Textarea(attrs={"rows": 2}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(str(phrase) for phrase in value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return [line.strip() for line in str(super().clean(value) or "").splitlines() if line.strip()]


class LabelForm(DeskForm):
    """What must hold of the reply, in fields; expectations of other scorers are kept as JSON."""

    contains = _Lines(label="The reply says", help_text="Phrases, one a line.")
    excludes = _Lines(
        label="The reply never says", help_text="Phrases, one a line. Saying one is a critical violation."
    )
    cites = _Lines(label="The reply cites", help_text="Ids of sources, one a line.")
    handoff = forms.ChoiceField(choices=_HANDOFF, required=False, label="Handing over to a person")
    accepts_handoff = forms.BooleanField(required=False, label="Handing over is as good as meeting the rest")
    tool = forms.CharField(required=False, max_length=120, label="The tool that is called")
    arguments = DocumentField(rows=3, required=False, label="With exactly these arguments", help_text="Empty: any.")
    other = DocumentField(rows=3, required=False, label="Other expectations", help_text="By scorer, as JSON.")
    kind = forms.ChoiceField(choices=Case.Kind.choices)
    intent = forms.ModelChoiceField(
        Intent.objects.none(), required=False, to_field_name="slug", empty_label="No intent"
    )
    all_of_correction = forms.BooleanField(required=False, label="Apply to every waiting draft of this correction")

    def __init__(self, *args: Any, case: Case, **kwargs: Any) -> None:
        self.case = case
        super().__init__(*args, **kwargs)

    def prepare(self) -> None:
        field = self.fields["intent"]
        assert isinstance(field, forms.ModelChoiceField)  # declared as one
        field.queryset = Intent.objects.visible_to(self.actor).current().filter(agent_id=self.case.benchmark.agent_id)
        for name in ("arguments", "other"):
            self.fields[name].widget.attrs["data-code"] = "json"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in ("arguments", "other"):
            if cleaned.get(name) and not isinstance(cleaned[name], dict):
                self.add_error(name, "Give an object: names and values in braces.")
        if cleaned.get("arguments") and not cleaned.get("tool"):
            self.add_error("tool", "Arguments need the name of the tool they belong to.")
        return cleaned

    def expectations(self) -> dict[str, Any]:
        """Return what the valid form says, as a case stores it."""
        data = self.cleaned_data
        said: dict[str, Any] = dict(data["other"] or {})
        said |= {name: data[name] for name in _LISTS if data[name]}
        if data["handoff"]:
            said["handoff"] = data["handoff"] == "yes"
        if data["accepts_handoff"]:
            said["accepts_handoff"] = True
        if data["tool"]:
            said["tool_called"] = {"name": data["tool"]} | (
                {"arguments": data["arguments"]} if data["arguments"] else {}
            )
        return said


def label_of(case: Case) -> dict[str, Any]:
    """Return the form's values for a case as it stands; what the fields cannot show goes to the other expectations."""
    rest = dict(case.expectations)
    shown: dict[str, Any] = {"kind": case.kind, "intent": case.intent.slug if case.intent is not None else ""}
    for name in _LISTS:
        if isinstance(rest.get(name), list):
            shown[name] = rest.pop(name)
    if isinstance(rest.get("handoff"), bool):
        shown["handoff"] = "yes" if rest.pop("handoff") else "no"
    if rest.get("accepts_handoff") is True:
        shown["accepts_handoff"] = rest.pop("accepts_handoff")
    call = rest.get("tool_called")
    if isinstance(call, dict) and set(call) <= {"name", "arguments"}:
        rest.pop("tool_called")
        shown |= {"tool": call.get("name", ""), "arguments": call.get("arguments") or None}
    return shown | {"other": rest or None}
