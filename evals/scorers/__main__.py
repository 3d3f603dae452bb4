"""Print the table of expectations, as the docs hold it."""

import sys

from evals.scorers.listing import as_markdown

sys.stdout.write(as_markdown())
