"""The worker beside the measured server: reads captured episodes for signals until its input ends, then says how fast."""

import os
import sys
import threading
import time
from uuid import UUID

import django
import orjson

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.settings")
django.setup()

from episodes.detecting import detect_captured  # after the settings


def main(agent_id: UUID) -> None:
    """Read as the worker does, and print how many episodes were read in how many busy seconds."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    read, busy_s = 0, 0.0
    while True:
        is_last = ended.is_set()
        started = time.perf_counter()
        if number := detect_captured(agent_id):
            read += number
            busy_s += time.perf_counter() - started
        elif is_last:
            break
        else:
            time.sleep(0.02)
    print(orjson.dumps({"read": read, "busy_s": busy_s}).decode(), flush=True)


if __name__ == "__main__":
    main(UUID(sys.argv[1]))
