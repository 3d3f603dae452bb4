"""The connections to one platform; a forked child gets its own."""

import contextlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

__all__ = ["FAILURES", "Wire", "retry_after_s"]

# Whatever can go wrong with a request and its answer, a body of a strange shape included.
FAILURES = (
    httpx.HTTPError, httpx.InvalidURL, RuntimeError, OSError, ValueError, KeyError, TypeError, AttributeError,
)  # fmt: skip
_LONGEST_RETRY_AFTER_S = 300.0
_BACKGROUND_S = 30.0


class Wire:
    """An HTTP client for the platform at `url`, speaking with `key`."""

    def __init__(self, url: str, key: str, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._timeout_s = timeout_s
        self.http = self._connected()

    def renew(self) -> None:
        """Start with fresh connections: those of before a fork belong to the parent."""
        self.http = self._connected()

    def post_episodes(self, body: bytes) -> httpx.Response:
        """Post lines of episodes. Nobody waits for the answer, so the platform has its time."""
        timeout = httpx.Timeout(self._timeout_s, read=max(_BACKGROUND_S, self._timeout_s))
        return self.http.post(
            "episodes", content=body, headers={"Content-Type": "application/x-ndjson"}, timeout=timeout
        )

    def close(self) -> None:
        """Close all connections."""
        self.http.close()

    def _connected(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers={"Authorization": f"Bearer {self._key}", "Accept": "application/json"},
            timeout=self._timeout_s,
            # A proxy in the environment is for the world outside, never for a platform on this machine.
            mounts={"all://localhost": None, "all://127.0.0.1": None},
        )


def retry_after_s(answer: httpx.Response) -> float:
    """Return how long the platform asks to be left alone, in seconds; 0 when it does not say, at most 5 minutes."""
    told = answer.headers.get("Retry-After", "")
    seconds = 0.0
    with contextlib.suppress(ValueError):
        seconds = float(told)
    if not seconds and told:
        with contextlib.suppress(ValueError, TypeError):
            at = parsedate_to_datetime(told)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER_S) if seconds == seconds else 0.0  # noqa: PLR0124 - not NaN
