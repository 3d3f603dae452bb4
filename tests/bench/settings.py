"""The platform's settings, with the benches' bare views beside its own."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.urls"
