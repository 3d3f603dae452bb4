"""Settings that evals relies on."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from evals.scorers.states import resolve_check

__all__ = ["state_checks_can_be_called"]


@register()
def state_checks_can_be_called(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """evals.E001: a name of STATE_CHECKS leads to nothing that can be called."""
    found: list[CheckMessage] = []
    for name, path in settings.STATE_CHECKS.items():
        try:
            resolve_check(path)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            hint = 'Give the dotted path of a function, for example {"ledger": "shop.exams.ledger_balances"}.'
            found.append(Error(f"STATE_CHECKS[{name!r}] cannot be used: {error}", hint=hint, id="evals.E001"))
    return found
