"""Configuration that accounts rely on."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db.utils import DatabaseError

from accounts.models import User

__all__ = ["simulated_accounts_are_refused_in_production"]


@register(Tags.database, deploy=True)
def simulated_accounts_are_refused_in_production(
    app_configs: Any, databases: Any = None, **_: Any
) -> list[CheckMessage]:
    """accounts.E001: production settings refuse accounts marked `is_simulated`."""
    if not databases or not settings.IS_PRODUCTION:
        return []
    try:
        count = User.objects.filter(is_simulated=True, is_active=True).count()
    except DatabaseError:
        return []
    if not count:
        return []
    return [
        Error(
            f"{count} simulated accounts are active under production settings.",
            hint="Deactivate them: a demonstration's database must not serve production.",
            id="accounts.E001",
        )
    ]
