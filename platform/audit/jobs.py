"""Jobs of the record."""

import logging

from audit.chain import seal_events, status

__all__ = ["note_head", "seal"]

logger = logging.getLogger("audit")


def seal() -> None:
    """Seal what waits. Running twice is harmless: sealed events are never sealed again."""
    seal_events()


def note_head() -> None:
    """Write the chain's head where nobody with the database alone can change it. A repeat notes it again."""
    chain = status()
    if chain.sealed:
        logger.info("chain.head", extra={"head": f"{chain.sealed}:{chain.head}"})
