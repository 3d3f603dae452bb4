"""What can go wrong with the embedded servers."""

__all__ = ["EmbeddedError"]


class EmbeddedError(RuntimeError):
    """The embedded servers cannot be had; the message says why and what to do."""
