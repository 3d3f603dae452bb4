"""An agent that nobody has written an exam for."""

import pytest

from evals.exceptions import BenchmarkMissingError
from evals.jobs import validate_next_of


def test_validation__no_benchmark__is_refused(taught, submit):
    with pytest.raises(BenchmarkMissingError):
        validate_next_of(str(submit().agent_id))
