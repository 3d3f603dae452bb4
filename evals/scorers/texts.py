"""What the reply says, word for word."""

from collections.abc import Sequence

from evals.scorers.patterns import found_in, problem_of
from evals.scorers.reply import Reply
from evals.scorers.scorer import ONE_OR_MORE_TEXTS, Part, Scorer, as_list, normal, some_of

__all__ = ["CONTAINS", "EXACT", "EXCLUDES", "REGEX"]


def _exact(wanted: str | Sequence[str], reply: Reply) -> Part:
    accepted = [text.strip() for text in as_list(wanted)]
    if reply.text.strip() in accepted:
        return Part(1.0, "is what it must be")
    if normal(reply.text) in map(normal, accepted):
        return Part(0.5, f"is {reply.text.strip()[:80]!r}, which differs in case or blanks")
    return Part(0.0, f"is not {some_of(accepted)}")


def _contains(wanted: str | Sequence[str], reply: Reply) -> Part:
    texts, said = as_list(wanted), [normal(one) for one in reply.said]
    missing = [text for text in texts if not any(normal(text) in one for one in said)]
    return Part(1 - len(missing) / len(texts), f"lacks {some_of(missing)}" if missing else "says what it must")


def _excludes(forbidden: str | Sequence[str], reply: Reply) -> Part:
    said = [normal(one) for one in reply.said]
    found = [text for text in as_list(forbidden) if any(normal(text) in one for one in said)]
    rationale = f"says {some_of(found)}" if found else "says nothing forbidden"
    return Part(0.0 if found else 1.0, rationale, ("says what it must not",) * len(found))


def _regex(wanted: str | Sequence[str], reply: Reply) -> Part:
    patterns = as_list(wanted)
    missing = [pattern for pattern in patterns if not any(found_in(pattern, one) for one in reply.said)]
    rationale = f"matches nothing of {some_of(missing)}" if missing else "matches what it must"
    return Part(1 - len(missing) / len(patterns), rationale)


def _pattern_problem(wanted: str | Sequence[str]) -> str:
    return next(filter(None, map(problem_of, as_list(wanted))), "")


EXACT = Scorer(
    "exact",
    "The last answer is this text, or one of these; half a score where only case or blanks differ.",
    ONE_OR_MORE_TEXTS, "YES", _exact,
)  # fmt: skip
CONTAINS = Scorer(
    "contains",
    "An answer says each of these texts, whatever their case and blanks; the score is the share that is said.",
    ONE_OR_MORE_TEXTS, ["30 days", "free of charge"], _contains,
)  # fmt: skip
EXCLUDES = Scorer(
    "excludes", "No answer says any of these texts. Each that is said is a critical violation.",
    ONE_OR_MORE_TEXTS, ["your password is"], _excludes, forbids=True,
)  # fmt: skip
REGEX = Scorer(
    "regex",
    "Each of these patterns (RE2, linear time; begin with (?i) to ignore case) is found in an answer; the score is the "
    "share that is found.",
    ONE_OR_MORE_TEXTS, [r"\bORD-\d{6}\b"], _regex, _pattern_problem,
)  # fmt: skip
