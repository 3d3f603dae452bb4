"""Pages of the first stage: what agents lived through, what was said of it, what recurs."""

from episodes.admin import judgments, patterns, records

__all__ = ["judgments", "patterns", "records"]
