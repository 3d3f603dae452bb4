"""Jobs of releases: couriers between the clock and the guard."""

import logging

from django.db import connection, transaction

from accounts.exceptions import DomainError
from releases.models import Release
from releases.watching import is_due, watch

__all__ = ["tick_releases"]

logger = logging.getLogger("releases")


def tick_releases() -> None:
    """Watch every release in motion; one that cannot be watched does not keep the others from it.

    A repeat is harmless: each look reads everything anew. Who moved a release in the same moment wins.
    """
    for release_id in list(Release.objects.in_motion().order_by().values_list("pk", flat=True)):
        try:
            if is_due(release_id):
                watch(release_id)
        except DomainError as refusal:
            logger.info("release.refused", extra={"release": str(release_id), "refusal": str(refusal)})
        except Exception:  # one broken release must not blind the guard of the others; its own age pauses it
            logger.exception("release.unwatched", extra={"release": str(release_id)})
            if not connection.in_atomic_block and (
                transaction.get_connection().needs_rollback or not connection.is_usable()
            ):
                connection.close()
