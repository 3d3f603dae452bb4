"""How agents of the stories speak with the platform: over HTTP, and again until they are answered."""

import time
from types import TracebackType
from typing import Any, Self

import httpx

__all__ = ["ASKED", "Line"]

ASKED = (
    "Do you ship to Norway?",
    "Can you send my parcel abroad?",
    "Is delivery to another country possible?",
    "What does shipping overseas cost?",
    "I live in Canada, can I order from you all the same?",
    "Which countries do you deliver to?",
    "My sister moved to Japan and I want her to get a present from your shop.",
    "How long does an international order take to arrive?",
)
PATIENCE_S = 120.0
PAUSE_S = 0.05


class Line:
    """One agent's line. What was not acknowledged is sent again; what was answered instead is kept."""

    def __init__(self, base_url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=f"{base_url}/api/v1", headers=headers, timeout=30.0, trust_env=False)
        self.refusals: list[httpx.Response] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def insist(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Return the acknowledgment, however often it takes; a refusal that time does not mend fails the story."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._ask(method, path, **request)
            if answer is not None and answer.is_success:
                return answer
            if answer is not None:
                assert answer.is_server_error, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
                self.refusals.append(answer)
            assert time.monotonic() < deadline, f"{method} {path} was never acknowledged"
            time.sleep(PAUSE_S)

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        try:
            return self._http.request(method, path, **request)
        except httpx.TransportError:
            return None

    def unclean(self) -> list[str]:
        """Return the answers that were neither a success nor a problem saying that the service is unavailable."""
        return [
            f"{one.request.method} {one.request.url.path}: {one.status_code} {one.text[:300]}"
            for one in self.refusals
            if one.status_code != httpx.codes.SERVICE_UNAVAILABLE
            or one.headers.get("Content-Type") != "application/problem+json"
        ]
