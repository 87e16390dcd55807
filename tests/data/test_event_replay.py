"""Batches that come again, in pieces and in another order: an event counts once, whoever is killed meanwhile."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.data.event_intake import take_events
from aimwell.engine.compaction import compact
from aimwell.engine.settings import Settings, StoreSettings
from aimwell.engine.workspace import Workspace
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)
from tests.service.scene import make_key, running, wait_until

NAMES = [f"{number}" for number in range(12)]
BATCHES = st.lists(st.sampled_from(NAMES), min_size=1, max_size=8)
HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1), BATCHES),
        st.tuples(st.just("restart"), st.integers(0, 1), st.just([])),
        st.tuples(st.just("move"), st.integers(0, 1), st.just([])),
    ),
    min_size=1,
    max_size=12,
)
_TURNS = count()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path, options = tmp_path_factory.mktemp("replay") / "w", Settings()
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "postgresql":
            server: Server = request.getfixturevalue("postgres")
            server.run("DROP DATABASE IF EXISTS replay", "CREATE DATABASE replay")
            patch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
            options = Settings(store=StoreSettings(url=server.address("replay", password=None)))
        Workspace.create(path, zone="UTC", settings=options).close()
        yield path


def track(name: str) -> dict[str, Any]:
    return {"type": "track", "event": "Seen", "messageId": name, "userId": "u"}


def count_events(workspace: Workspace, prefix: str) -> Counter[str]:
    with workspace.read() as reader:
        found = reader.query(
            "SELECT event_id FROM events WHERE starts_with(event_id, $prefix)", {"prefix": prefix}
        )
    return Counter(name.removeprefix(prefix) for name in found["event_id"].to_pylist())


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(happenings=HAPPENINGS)
def test_an_event_counts_once_however_it_comes(
    folder: Path, happenings: list[tuple[str, int, list[str]]]
) -> None:
    """Two processes take batches, are started again and move rows into files, in any order."""
    prefix = f"turn {next(_TURNS)} "
    open_ones = [Workspace.open(folder) for _ in range(2)]
    accepted: Counter[str] = Counter()
    try:
        for what, which, names in happenings:
            if what == "restart":
                open_ones[which].close()
                open_ones[which] = Workspace.open(folder)
            elif what == "move":
                compact(open_ones[which])
            else:
                receipts = take_events(open_ones[which], [track(prefix + name) for name in names])
                assert [one.message_id for one in receipts] == [prefix + name for name in names]
                assert {one.status for one in receipts} <= {"accepted", "duplicate"}
                accepted.update(
                    one.message_id.removeprefix(prefix) for one in receipts if one.status == "accepted"
                )
        sent = {name for _, _, names in happenings for name in names}
        assert accepted == Counter(sent) == count_events(open_ones[0], prefix)
    finally:
        for one in open_ones:
            one.close()


def test_batches_repeated_in_any_order_over_kills_count_once(tmp_path: Path) -> None:
    """The service is killed while senders repeat overlapping batches; then all of them are sent once more."""
    chance = random.Random(11)
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    key = make_key(workspace)
    names = [f"e{number}" for number in range(400)]
    batches = [chance.sample(names, 30) for _ in range(60)] + [
        names[place : place + 50] for place in range(0, 400, 50)
    ]
    answers: list[list[str]] = []

    def send(service: Any, mine: list[list[str]]) -> None:
        for batch in mine:
            body = {"batch": [track(name) for name in batch]}
            try:
                if service.call("/v1/batch", body, key=key).status == 200:
                    answers.append(batch)
            except OSError:
                return

    for _ in range(2):
        enough = len(answers) + 10
        with running(workspace.path) as service:
            order = [chance.sample(batches, len(batches)) for _ in range(3)]
            threads = [threading.Thread(target=send, args=(service, mine)) for mine in order]
            for thread in threads:
                thread.start()
            wait_until(lambda enough=enough: len(answers) >= enough)
            threading.Event().wait(0.1 * chance.random())
            service.end(signal.SIGKILL)
            for thread in threads:
                thread.join()
        kept = count_events(workspace, "e")
        assert set(kept.values()) <= {1}
        assert {name.removeprefix("e") for batch in answers for name in batch} <= kept.keys()
        compact(workspace)
    before = len(answers)
    with running(workspace.path) as service:
        send(service, chance.sample(batches, len(batches)))
        figures = service.call("/metrics", key=key).body.decode()
    assert len(answers) == before + len(batches)
    assert count_events(workspace, "e") == Counter(name.removeprefix("e") for name in names)
    assert 'aimwell_events_total{status="duplicate"}' in figures
    workspace.close()
