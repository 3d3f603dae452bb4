"""Run a tool's own code where it can reach nothing: another language runtime in another process, within limits."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from pydantic_monty import CollectString, Monty, MontyError, OSPolicy, ResourceLimits

from harness.canonical import DocumentError, Json, clean_json

__all__ = ["CodeFailedError", "Sandbox"]

LIMITS: ResourceLimits = {"max_feed_duration_secs": 2.0, "max_memory": 64 * 1024 * 1024, "max_recursion_depth": 200}
WAIT_S = 30.0
_SHOWN = 300


class CodeFailedError(Exception):
    """The code raised, took too much, or gave back what is no JSON."""


class Sandbox:
    """Runs code that defines `run(arguments)`, over plain values, with no files, network, clock or chance of its own.

    The worker processes start with the first call. Usable from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: Monty | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.__exit__(None, None, None)
                self._pool = None

    def call(self, code: str, arguments: Mapping[str, Any], *, state: Mapping[str, Any], seed: int) -> Json:
        """Return what `run(arguments)` of the code returns; `state` is a global of that name.

        Every call starts anew, so that trials cannot speak to each other. Raises `CodeFailedError`.
        """
        policy: OSPolicy = {"sleep": "zero", "random_start": {"seed": seed}, "datetime": "call_host"}
        inputs = {"arguments": dict(arguments), "state": dict(state)}
        try:
            with self._workers().checkout(script_name="tool.py", limits=LIMITS, os_policy=policy) as session:
                result = session.feed_run(f"{code}\nrun(arguments)", inputs=inputs, print_callback=CollectString())
                return clean_json(result)
        except (MontyError, DocumentError, TimeoutError, ValueError, TypeError) as error:
            raise CodeFailedError(str(error)[-_SHOWN:] or type(error).__name__) from error

    def _workers(self) -> Monty:
        with self._lock:
            if self._pool is None:
                self._pool = Monty(min_processes=1, max_processes=2, checkout_timeout=WAIT_S, request_timeout=WAIT_S)
                self._pool.__enter__()
            return self._pool
