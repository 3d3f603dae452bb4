"""Forms of the admin: plain Django forms in the admin's dress, and forms read off what a verb needs."""

import json
import types
import typing
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from unfold import widgets

from accounts.acting import NOBODY, Actor

__all__ = ["DeskForm", "DocumentField", "verb_form"]

_DRESS: dict[type[forms.Widget], Callable[..., forms.Widget]] = {
    forms.TextInput: widgets.UnfoldAdminTextInputWidget,
    forms.Textarea: widgets.UnfoldAdminTextareaWidget,
    forms.NumberInput: widgets.UnfoldAdminIntegerFieldWidget,
    forms.EmailInput: widgets.UnfoldAdminEmailInputWidget,
    forms.URLInput: widgets.UnfoldAdminURLInputWidget,
    forms.PasswordInput: widgets.UnfoldAdminPasswordWidget,
    forms.CheckboxInput: widgets.UnfoldBooleanWidget,
    forms.Select: widgets.UnfoldAdminSelectWidget,
    forms.SelectMultiple: widgets.UnfoldAdminSelectMultipleWidget,
    forms.CheckboxSelectMultiple: widgets.UnfoldAdminCheckboxSelectMultipleWidget,
}
_LONG_TEXT = 300


class DeskForm(forms.Form):
    """A form that knows who fills it in, so that its choices show only what that person may see."""

    def __init__(self, *args: Any, actor: Actor = NOBODY, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor = actor
        self.prepare()
        for field in self.fields.values():
            _dress(field)

    def prepare(self) -> None:
        """Fill choices in for `self.actor`; called once, before the form is shown or read."""


class DocumentField(forms.JSONField):
    """JSON as an editable, indented text."""

    def __init__(self, *, rows: int = 18, **kwargs: Any) -> None:
        super().__init__(
            widget=forms.Textarea(attrs={"rows": rows, "data-code": "json", "spellcheck": "false"}), **kwargs
        )

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _dress(field: forms.Field) -> None:
    plain = field.widget
    make = _DRESS.get(type(plain))
    if make is None:
        return
    kind = {"type": plain.input_type} if isinstance(plain, forms.TextInput) else {}
    dressed: Any = make(attrs=plain.attrs | kind)
    dressed.is_required = field.required
    if isinstance(field, forms.ChoiceField | forms.ModelChoiceField):
        dressed.choices = field.choices
    field.widget = dressed


class _VerbForm(DeskForm):
    """The reason, and what else the verb needs; `arguments` holds the validated keyword arguments."""

    NEEDS: ClassVar[type[BaseModel] | None] = None

    arguments: dict[str, Any]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.arguments = {}
        if self.NEEDS is None or self.errors:
            return cleaned
        given = {name: cleaned[name] for name in self.NEEDS.model_fields if cleaned.get(name) not in (None, "")}
        try:
            self.arguments = self.NEEDS.model_validate(given).model_dump()
        except ValidationError as error:
            for problem in error.errors():
                name = str(problem["loc"][0]) if problem["loc"] else None
                self.add_error(name if name in self.fields else None, problem["msg"])
        return cleaned


def verb_form(needs: type[BaseModel] | None, *, needs_reason: bool) -> type[_VerbForm]:
    """Return the form of a verb: its own fields from the pydantic model `needs`, then the reason."""
    fields: dict[str, Any] = {"NEEDS": needs}
    for name, info in (needs.model_fields if needs else {}).items():
        fields[name] = _field(name, info)
    fields["reason"] = forms.CharField(
        required=needs_reason, max_length=4_000, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Goes into the record." if needs_reason else "Goes into the record; may stay empty.",
    )  # fmt: skip
    return type("VerbForm", (_VerbForm,), fields)


def _field(name: str, info: FieldInfo) -> forms.Field:
    shared: dict[str, Any] = {
        "required": info.is_required(),
        "label": info.title or name.replace("_", " ").capitalize(),
        "help_text": info.description
        or ("What you looked at: the decision binds to exactly this." if "digest" in name else ""),
    }
    if info.default is not PydanticUndefined and info.default is not None:
        shared["initial"] = info.default
    kind = _plain(info.annotation)
    if typing.get_origin(kind) is typing.Literal:
        options = [(value, str(value).replace("_", " ").capitalize()) for value in typing.get_args(kind)]
        return forms.ChoiceField(choices=options if info.is_required() else [("", "—"), *options], **shared)
    if kind is str:
        limit = next((rule.max_length for rule in info.metadata if hasattr(rule, "max_length")), None)
        return forms.CharField(max_length=limit, widget=_text_widget(name, info, limit), **shared)
    make = _SIMPLE.get(kind)
    return make(**shared) if make else DocumentField(rows=10, **shared)


_SIMPLE: dict[Any, Callable[..., forms.Field]] = {
    bool: lambda **shared: forms.BooleanField(**shared | {"required": False}),
    int: forms.IntegerField,
    float: lambda **shared: forms.FloatField(widget=forms.NumberInput(attrs={"step": "any"}), **shared),
    datetime: lambda **shared: forms.DateTimeField(widget=forms.TextInput(attrs={"type": "datetime-local"}), **shared),
}


def _text_widget(name: str, info: FieldInfo, limit: int | None) -> forms.Widget:
    if name.endswith("digest"):
        return forms.TextInput(attrs={"readonly": "readonly"})  # what the page showed; not for typing
    if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("format") == "password":
        return forms.PasswordInput(attrs={"autocomplete": "new-password"})
    return forms.Textarea(attrs={"rows": 3}) if limit is not None and limit > _LONG_TEXT else forms.TextInput()


def _plain(annotation: Any) -> Any:
    """Return the annotation without `None`."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else None
    return annotation
