"""The store: writers take turns, readers wait for none, and the log does not grow for ever."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import NotReady
from aimwell.engine import store_engine
from aimwell.engine.store import Store
from aimwell.engine.store_errors import BUSY
from aimwell.engine.store_tables import DEFINITIONS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    Store.open_file(path).close()
    return path


def fill(store: Store, name: str, size: int) -> None:
    store.save_definition("test", name, {"text": "x" * size})


def measure_log(file: Path) -> int:
    return file.with_name(file.name + "-wal").stat().st_size


def test_a_writer_waits_for_another_and_then_writes(file: Path) -> None:
    first, second = Store.open_file(file), Store.open_file(file)
    done: list[str] = []

    def write() -> None:
        fill(second, "second", 1)
        done.append("second")

    with first.begin() as connection:
        connection.execute(sa.delete(DEFINITIONS))
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.2)
        assert done == []
        # Whoever only reads waits for nobody.
        with second.snapshot() as reading:
            assert reading.execute(sa.select(sa.func.count()).select_from(DEFINITIONS)).scalar_one() == 0
        done.append("first")
    thread.join(180)
    assert done == ["first", "second"]


def test_a_writer_does_not_wait_for_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Store.open_file(file), Store.open_file(file)
    monkeypatch.setattr(store_engine, "PATIENCE", 0.1)
    with first.begin(), pytest.raises(NotReady, match="too long"):
        fill(second, "second", 1)
    fill(second, "second", 1)


def test_whoever_would_not_wait_is_told_at_once(file: Path) -> None:
    first, second = Store.open_file(file), Store.open_file(file)
    with first.begin(), pytest.raises(NotReady) as problem, second.begin(wait=False):
        raise AssertionError("two write at once")
    assert problem.value.code == BUSY
    with second.begin(wait=False) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(DEFINITIONS)).scalar_one() == 0
    fill(first, "first", 1)


def test_a_log_that_was_moved_begins_anew(file: Path) -> None:
    store = Store.open_file(file)
    for number in range(3):
        fill(store, f"first {number}", 3_000_000)
    store.tidy()
    grown = measure_log(file)
    for number in range(3):
        fill(store, f"second {number}", 2_900_000)
    assert measure_log(file) == grown, "the room that the log has is used again"


def test_a_reader_of_an_older_state_keeps_what_it_sees_while_the_log_is_moved(file: Path) -> None:
    store = Store.open_file(file)
    fill(store, "before", 1)
    names = sa.select(DEFINITIONS.c.name).order_by(DEFINITIONS.c.name)
    with store.snapshot() as reading:
        assert reading.execute(names).scalars().all() == ["before"]
        for number in range(3):
            fill(store, f"during {number}", 3_000_000)
        store.tidy()
        assert reading.execute(names).scalars().all() == ["before"]
    store.tidy()
    assert len(store.list_definitions("test")) == 4
