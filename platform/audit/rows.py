"""Rows of a list of facts in the skin's look, made column by column: what the skin asks anew for each cell, it is asked once."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from django.contrib.admin.utils import lookup_field, quote
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.urls import reverse
from django.utils import dateformat, formats, timezone
from django.utils.html import conditional_escape, escape
from django.utils.safestring import SafeString, mark_safe
from unfold.templatetags.unfold_list import LINK_CLASSES, TABLE_ACTION_CELL_CLASSES, TABLE_CELL_CLASSES
from unfold.utils import display_for_field, display_for_value

__all__ = ["rows_of"]

_EMPTY = "-"
_KEY = "the-key-of-the-row"
type Shown = Callable[[Any], Any]


def rows_of(cl: Any) -> Iterator[SafeString]:
    """Yield the cells of each row of a change list, columns and links as `list_display` and its links name them."""
    columns = [_column(cl, name) for name in cl.list_display]
    for row in cl.result_list:
        key = escape(quote(row.pk))
        cells = (
            f"{opening.replace(_KEY, key)}{conditional_escape(shown(row))}{closing}"
            for opening, shown, closing in columns
        )
        yield mark_safe("".join(cells))  # noqa: S308  # every value is escaped above, all else is the skin's


def _column(cl: Any, name: str) -> tuple[str, Shown, str]:
    """Return what stands before a cell of the column, what it shows of a row, and what stands behind."""
    if name == "action_checkbox":
        return f'<td class="{" ".join(TABLE_ACTION_CELL_CLASSES)}">', cl.model_admin.action_checkbox, "</td>"
    try:
        field = cl.opts.get_field(name)
    except FieldDoesNotExist:
        field = None
    keeps_line = isinstance(field, models.DateField | models.ForeignKey)
    classes = " ".join([f"field-{name}", *TABLE_CELL_CLASSES, *(["nowrap"] if keeps_line else [])])
    shown = _of_field(field) if field is not None else _computed(cl.model_admin, name)
    if name not in (cl.list_display_links or ()):
        return f'<td class="{classes}">', shown, "</td>"
    link = reverse(f"admin:{cl.opts.app_label}_{cl.opts.model_name}_change", args=(_KEY,))
    link += f"?{cl.preserved_filters}" if cl.preserved_filters else ""
    opening = f'<td class="{classes}"><a href="{escape(link)}" class="{" ".join(LINK_CLASSES)}">'
    return opening, shown, "</a></td>"


def _of_field(field: Any) -> Shown:
    if isinstance(field, models.ForeignKey):
        return lambda row: _EMPTY if (value := getattr(row, field.name)) is None else value
    if isinstance(field, models.DateTimeField):
        form = formats.get_format("DATETIME_FORMAT")
        return lambda row: _moment(getattr(row, field.attname), form)
    display = cache(lambda value: display_for_field(value, field, _EMPTY))
    if field.flatchoices or isinstance(field, models.BooleanField):
        return lambda row: display(getattr(row, field.attname))
    if isinstance(field, models.CharField | models.TextField):
        return lambda row: getattr(row, field.attname) or _EMPTY
    return lambda row: display_for_field(getattr(row, field.attname), field, _EMPTY)


def _moment(value: Any, form: str) -> str:
    return dateformat.format(timezone.localtime(value), form) if value is not None else _EMPTY


def _computed(model_admin: Any, name: str) -> Shown:
    def shown(row: Any) -> Any:
        _, attribute, value = lookup_field(name, row, model_admin)
        if isinstance(value, str):
            return value or _EMPTY
        return display_for_value(value, _EMPTY, getattr(attribute, "boolean", False))

    return shown
