"""Stories play on the worlds of the stages they pass through, with real worker processes."""

import os
import subprocess
import sys
from urllib.parse import quote

import django_rq
import pytest
from django.conf import settings
from django.db import connection

from tests.evals.endpoint import endpoint as serve_endpoint
from tests.evals.runs.conftest import curate, episode, make_benchmark, make_taught, submit  # noqa: F401  # two fixtures


@pytest.fixture
def endpoint():
    with serve_endpoint() as server:
        yield server


@pytest.fixture
def taught(cast, endpoint):
    return make_taught(cast, endpoint.url)


@pytest.fixture
def curated_benchmark(taught, cast):
    made = make_benchmark(taught, cast)
    curate(taught, made)
    return made


@pytest.fixture
def start_worker():
    """Start real worker processes on the test's own database and Valkey; they end with the test."""
    started = []
    config = connection.settings_dict
    address = f"postgresql://{quote(config['USER'])}@/{config['NAME']}"
    surroundings = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"{address}?host={quote(str(config['HOST']), safe='')}&port={config['PORT']}",
        "REDIS_URL": settings.REDIS_URL,
    }

    def start(queue):
        command = [sys.executable, "-m", "django", "rqworker", queue, "--worker-class", "rq.SimpleWorker"]
        command += ["--serializer", "rq.serializers.JSONSerializer"]
        process = subprocess.Popen(command, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    django_rq.get_connection().flushdb()
    yield start
    for process in started:
        process.kill()
        process.wait()
    django_rq.get_connection().flushdb()
