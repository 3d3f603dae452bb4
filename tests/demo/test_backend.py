"""The live backend, as a process of its own over real HTTP."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.demo.desk import process, write_scenario


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = write_scenario(tmp_path_factory.mktemp("desk"))
    with process("demo.backend", "--scenario", str(folder)) as url, httpx.Client(base_url=url) as http:
        yield http


def test_orders__known_id_in_an_accepted_style__returns_the_row(backend: httpx.Client) -> None:
    answer = backend.get("/orders/KL-48213")

    assert answer.status_code == 200
    assert answer.json() == {"status": "on truck 3"}


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/orders/KL48213", 400, "not a number in the dashed style"),
        ("/orders/2", 400, "not a number in the dashed style"),
        ("/orders/14th", 400, "not a number"),
        ("/orders/", 400, "not a number"),
        ("/orders/KL-99999", 404, "unknown"),
        ("/orders/KL-48213/extra", 400, "not a number"),
        ("/orders/..%2F..%2Fetc", 400, "not a number"),
        ("/customers/KL-48213", 404, "there are no 'customers' here"),
    ],
)
def test_orders__anything_else__is_refused_with_a_reason(
    backend: httpx.Client, path: str, status: int, reason: str
) -> None:
    answer = backend.get(path)

    assert answer.status_code == status
    assert reason in answer.json()["error"]


def test_backend__told_other_styles__accepts_those_only(tmp_path: Path) -> None:
    folder = write_scenario(tmp_path)
    with process("demo.backend", "--scenario", str(folder), "--accepts", "plain") as url:
        assert httpx.get(f"{url}/orders/KL48213").status_code == 200
        assert httpx.get(f"{url}/orders/KL-48213").status_code == 400
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
