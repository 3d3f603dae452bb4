"""The one hook django-simple-history offers for writing the actor's name beside its key."""

from typing import Any

from django.dispatch import receiver
from simple_history.signals import pre_create_historical_record

from accounts.acting import current

__all__ = ["name_the_actor"]


@receiver(pre_create_historical_record)
def name_the_actor(sender: Any, history_instance: Any, **_: Any) -> None:
    """Write the acting name on the history row, so that it survives the account."""
    history_instance.history_actor = str(current().actor)
