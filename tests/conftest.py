"""What all tests share: which files come first, the language they begin in, and that hypothesis draws the same
examples everywhere."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from aimwell.core.text import set_language

LONGEST = (
    "statistics/test_rounds.py",
    "conformance/test_spark.py",
    "conformance/test_postgres_store.py",
    "faults/test_journey_kill.py",
    "examples/test_reminders.py",
    "faults/test_workers_kill.py",
    "faults/test_worker_kill.py",
    "faults/test_service_kill.py",
    "e2e/test_wire.py",
    "loop/test_own_data.py",
    "analysis/test_tags_incremental.py",
    "e2e/test_demo.py",
    "e2e/test_customer_data.py",
    "data/test_catalogue.py",
    "conformance/test_clickhouse.py",
)
"""The files that take minutes, longest first. A file stays with one worker: were one of them the last to start, the
other workers would wait for it."""

settings.register_profile(
    "house",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")

# A mail server of a test may take longer than five seconds to come up where much else runs.
os.environ.setdefault("AIOSMTPD_CONTROLLER_TIMEOUT", "120")

# Where nothing compiled is kept, every command that a test starts would compile the product, and the libraries, again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file nothing changes."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A command that a test ran in Chinese leaves its process in Chinese: the next test begins in English."""
    set_language("en")
