"""The door of the library: one client per process, shared by all its threads."""

from pathlib import Path
from typing import Self

import httpx

from whetstone.episodes import EpisodeQueue, Report
from whetstone.harness import HarnessCache, HarnessHandle

__all__ = ["Client"]


class Client:
    """Talks to one Whetstone with one agent key; safe to share between threads.

    `base_url` is the platform's root (`https://whetstone.example`), `key` an agent key, `cache_dir` a folder for the
    last known good harness of each agent, so that an agent restarted while the platform is down still has one.
    """

    def __init__(self, base_url: str, key: str, *, cache_dir: Path | None = None, timeout_s: float = 5.0) -> None:
        self._http = httpx.Client(
            base_url=f"{base_url.rstrip('/')}/api/v1/",
            headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
            timeout=timeout_s,
            # A proxy in the environment is for the world outside, never for a platform on this machine.
            mounts={"all://localhost": None, "all://127.0.0.1": None},
        )
        self._harnesses = HarnessCache(self._http, cache_dir)
        self.episodes = EpisodeQueue(self._http)

    def harness(self, agent: str) -> HarnessHandle:
        """Return the handle by which an agent (named by its slug) gets its harness."""
        return HarnessHandle(agent, self._harnesses)

    def flush(self, timeout_s: float = 10.0) -> Report:
        """Wait until every recorded episode was answered, or the time is up, and report what became of them."""
        return self.episodes.flush(timeout_s)

    def close(self, timeout_s: float = 10.0) -> Report:
        """Flush, stop the background thread and close the connections. What could not be sent is reported as lost."""
        report = self.episodes.close(timeout_s)
        self._http.close()
        return report

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
