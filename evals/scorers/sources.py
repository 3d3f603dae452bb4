"""What the reply rests on."""

from collections.abc import Sequence

from evals.scorers.reply import Reply
from evals.scorers.scorer import ONE_OR_MORE_TEXTS, Part, Scorer, as_list, some_of

__all__ = ["CITES"]


def _cites(wanted: str | Sequence[str], reply: Reply) -> Part:
    required = sorted(set(as_list(wanted)))
    missing = [name for name in required if name not in set(reply.sources)]
    return Part(1 - len(missing) / len(required), f"does not cite {some_of(missing)}" if missing else "cites")


CITES = Scorer(
    "cites", "An answer cites each of these sources (`sources` of the output); the score is the share that is cited.",
    ONE_OR_MORE_TEXTS, ["returns-policy"], _cites,
)  # fmt: skip
