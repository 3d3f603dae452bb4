"""What a judge is asked: a text, a scale with anchors and the grade from which a reply passes. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from accounts.exceptions import DomainError
from harness.canonical import digest_of

__all__ = ["FULL", "BadRubricError", "Rubric", "read_rubric"]

FULL = 1_000
_PASS_OR_FAIL = {"0": "The reply does not do what the rubric demands.", "1": "The reply does what the rubric demands."}


class BadRubricError(DomainError):
    """A rubric that nobody could grade by."""

    code = "bad_rubric"
    http_status = 422


class Rubric(BaseModel):
    """One thing to judge a reply by.

    `binary` knows the grades 0 and 1; `ordinal` those from 0 to `top`, of which at least both ends have an anchor, the
    sentence that says what the grade means. A reply passes from `pass_mark` on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(default="", max_length=120)
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8_000)]
    scale: Literal["binary", "ordinal"] = "binary"
    top: Annotated[int, Field(ge=1, le=10)] = 1
    anchors: dict[str, Annotated[str, StringConstraints(max_length=1_000)]] = {}
    pass_mark: Annotated[int, Field(ge=1, le=10)] = 1

    @model_validator(mode="after")
    def _is_gradable(self) -> Self:
        grades = [str(grade) for grade in self.grades]
        if strange := sorted(set(self.anchors) - set(grades)):
            message = f"anchors name the grades {strange!r}; the scale has {', '.join(grades)}"
            raise ValueError(message)
        if self.scale == "binary" and (self.top, self.pass_mark) != (1, 1):
            message = "a binary scale has the grades 0 and 1 and passes at 1; say scale 'ordinal' for more"
            raise ValueError(message)
        if self.scale == "ordinal":
            self._check_ordinal(grades)
        return self

    def _check_ordinal(self, grades: list[str]) -> None:
        if self.top == 1 or "pass_mark" not in self.model_fields_set:
            message = "an ordinal scale says its 'top' (2 to 10) and its 'pass_mark'"
            raise ValueError(message)
        if self.pass_mark > self.top:
            message = f"pass_mark {self.pass_mark} is above the top {self.top}: nothing could pass"
            raise ValueError(message)
        if missing := [grade for grade in (grades[0], grades[-1]) if not self.anchors.get(grade, "").strip()]:
            message = f"the grades {missing!r} have no anchor; say what both ends of the scale mean"
            raise ValueError(message)

    @property
    def grades(self) -> range:
        return range(self.top + 1)

    @property
    def title(self) -> str:
        """Return the rubric's name, else its first words."""
        return self.name or (self.text if len(self.text) <= 60 else f"{self.text[:59]}…")

    @property
    def digest(self) -> str:
        """Return the digest of everything a judge is told: a new name changes nothing, another word everything."""
        return digest_of(self.model_dump(exclude={"name"}))

    def meaning(self, grade: int) -> str:
        """Return the anchor of a grade; empty where it has none."""
        known = _PASS_OR_FAIL | self.anchors if self.scale == "binary" else self.anchors
        return known.get(str(grade), "")

    def word(self, grade: int) -> str:
        """Return how people name a grade: pass or fail, or the number."""
        return ("fail", "pass")[grade] if self.scale == "binary" else str(grade)

    def score(self, grade: int) -> int:
        """Return a grade in thousandths of the top."""
        return round(FULL * grade / self.top)

    def passes(self, grade: int) -> bool:
        return grade >= self.pass_mark

    def grade_of(self, value: object) -> int:
        """Return the grade that a person or a file means: a number of the scale, a truth value, or pass and fail."""
        words: dict[object, int] = {"pass": self.top, "fail": 0} if self.scale == "binary" else {}
        if isinstance(value, bool):
            found = int(value) if self.scale == "binary" else None
        elif isinstance(value, str):
            text = value.strip().casefold()
            found = words.get(text, int(text) if text.isdecimal() and text.isascii() and len(text) <= 2 else None)
        else:
            found = int(value) if isinstance(value, int | float) and value in self.grades else None
        if found is None or found not in self.grades:
            allowed = ", ".join(self.word(grade) for grade in self.grades)
            raise BadRubricError(f"{str(value)[:40]!r} is no grade of {self.title!r}; allowed are {allowed}.")
        return found


def read_rubric(value: object) -> Rubric:
    """Return the rubric that a case's expectation describes, or raise `BadRubricError` saying what is wrong with it."""
    given: Any = dict(value) if isinstance(value, Mapping) else value
    try:
        return Rubric.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'rubric'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise BadRubricError(f"The rubric cannot be graded by: {problems}.") from error
