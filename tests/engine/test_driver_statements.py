"""Statements that go to the driver in packets: their rows, their errors, and what is there afterwards."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import NotReady
from aimwell.engine.driver_statements import Statement, make_insert, run_all, run_at_end
from aimwell.engine.in_loop import is_in_loop, run_in_loop
from aimwell.engine.store import Store
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

META = sa.MetaData()
THINGS = sa.Table(
    "things",
    META,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(255)),
    sa.Column("share", sa.Float),
    sa.Column("good", sa.Boolean),
)
PUT = "INSERT INTO things (number, name) VALUES (:number, :name)"
NUMBERS = Statement("SELECT number FROM things ORDER BY number")
TOTAL = Statement("SELECT count(*) FROM things")
STRANGE = ["plain", "it's", 'a "quote"', "back\\slash", "准星 100% :name", "", "{}", "a\nline", None]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    address = f"sqlite:///{tmp_path / 'store.sqlite'}"
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        name = f"packets{abs(hash(tmp_path.name))}"
        server.run(f"CREATE DATABASE {name}")
        address = server.address(name)
    opened = Store(address)
    with opened.begin() as connection:
        META.create_all(connection)
    yield opened
    opened.close()


def put(*numbers: int) -> list[Statement]:
    """Statements that insert these, one each."""
    return [Statement(PUT, {"number": number, "name": None}) for number in numbers]


def read(store: Store) -> list[int]:
    """Which are there."""
    with store.snapshot() as connection:
        return [number for (number,) in run_all(connection, [NUMBERS])[0]]


def test_each_statement_has_its_rows(store: Store) -> None:
    with store.begin() as connection:
        many = Statement(PUT, [{"number": place, "name": name} for place, name in enumerate(STRANGE)])
        found = run_all(
            connection,
            [
                many,
                Statement(
                    "SELECT number, name FROM things WHERE number >= :least ORDER BY number", {"least": 0}
                ),
                Statement("UPDATE things SET share = :share WHERE number < :most", {"share": 0.1, "most": 3}),
                Statement("SELECT share FROM things WHERE number = :which OR number = :which", {"which": 2}),
                Statement("SELECT number FROM things WHERE name = :name", {"name": "nobody"}),
            ],
        )
        assert run_all(connection, []) == []
    assert found == [[], list(enumerate(STRANGE)), [], [(0.1,)], []]


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_rows_are_inserted_as_they_are(store: Store, count: int) -> None:
    rows = [
        (n, STRANGE[n % len(STRANGE)], n / 7, [True, False, None][n % 3])
        for n in range(-count // 2, count // 2)
    ]
    with store.begin() as connection:
        run_all(connection, make_insert(connection, THINGS, rows))
    with store.snapshot() as connection:
        assert connection.execute(sa.select(THINGS).order_by(THINGS.c.number)).all() == rows


def test_what_fails_ends_it_and_leaves_the_connection_in_order(store: Store) -> None:
    for _ in range(3):
        with pytest.raises(sa.exc.IntegrityError) as problem, store.begin() as connection:
            run_all(connection, [*put(1, 2, 1), Statement("SELECT nothing FROM nowhere")])
        assert "things" in str(problem.value)
        # A statement that nobody understands, among others that are new to the connection, too.
        with pytest.raises(sa.exc.DBAPIError), store.begin() as connection:
            run_all(connection, [NUMBERS, Statement("SELECT wrong FROM things"), TOTAL])
    assert read(store) == []
    with store.begin() as connection:
        assert run_all(connection, [*put(5), NUMBERS, TOTAL]) == [[], [(5,)], [(1,)]]
    assert read(store) == [5]


def test_what_the_driver_forgets_is_forgotten(store: Store) -> None:
    """The driver prepares what runs often, and lets the server forget all statements when something is undone."""
    for number in range(8):
        with store.begin() as connection:
            connection.execute(sa.select(THINGS).where(THINGS.c.number == number)).all()
    for change in ("ROLLBACK", "DROP TABLE IF EXISTS nowhere"):
        with pytest.raises(ZeroDivisionError), store.begin() as connection:
            connection.execute(sa.select(THINGS)).all()
            if change != "ROLLBACK":
                connection.exec_driver_sql(change)
            raise ZeroDivisionError
        assert read(store) == []
        with store.begin() as connection:
            run_at_end(connection, [Statement("DELETE FROM things WHERE number = :number", {"number": 1})])


@pytest.mark.parametrize("value", [b"bytes".decode() + "\x00", object(), "\ud800"])
@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_a_value_that_cannot_be_sent_harms_nothing(store: Store, value: object) -> None:
    with store.begin() as connection:
        run_all(connection, put(1))
        with pytest.raises((TypeError, ValueError)):
            run_all(connection, [*put(2), Statement(PUT, {"number": 3, "name": value})])
        run_all(connection, put(4))
    assert read(store) == [1, 4]


def test_what_goes_with_the_commit_is_there_after_it_or_not_at_all(store: Store) -> None:
    with store.begin() as connection:
        run_at_end(connection, put(1))
        run_at_end(connection, put(2))
    assert read(store) == [1, 2]
    with pytest.raises(sa.exc.IntegrityError), store.begin() as connection:
        run_all(connection, put(3))
        run_at_end(connection, put(4, 2))
    with pytest.raises(ZeroDivisionError), store.begin() as connection:
        run_at_end(connection, put(5))
        raise ZeroDivisionError
    assert read(store) == [1, 2]
    # Nothing of it is kept for whoever has the connection next.
    with store.begin() as connection:
        run_all(connection, put(6))
    assert read(store) == [1, 2, 6]


def test_first_statements_see_what_was_committed_before_the_lock_was_had(store: Store) -> None:
    found: list[object] = []

    def write() -> None:
        with store.begin_with([*put(2), NUMBERS]) as (_, rows):
            found.extend(rows)

    thread = threading.Thread(target=write)
    with store.begin() as connection:
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        run_at_end(connection, put(1))
    thread.join(180)
    assert found == [[], [(1,), (2,)]]
    with store.begin(), pytest.raises(NotReady), store.begin_with(put(3), wait=False):
        raise AssertionError("two write at once")
    assert read(store) == [1, 2]


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_the_loop_goes_on_while_work_in_it_waits_for_the_lock(store: Store) -> None:
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with store.begin() as connection:
            run_at_end(connection, put(1))
            held.set()
            assert free.wait(180)

    def write() -> list[int]:
        assert is_in_loop()
        # Without waiting means: without stopping the thread.
        with store.begin_with([*put(2), NUMBERS], wait=False) as (_, rows):
            return [number for (number,) in rows[1]]

    async def act() -> tuple[int, list[int]]:
        work = asyncio.create_task(run_in_loop(write))
        turns = 0
        while turns < 5:
            assert not work.done()
            await asyncio.sleep(0.02)
            turns += 1
        free.set()
        return turns, await work

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(180)
    # No connection is open but the one that holds the lock: another one is opened while the loop goes on.
    store.engine.pool.dispose()
    try:
        assert asyncio.run(act()) == (5, [1, 2])
    finally:
        free.set()
        thread.join(180)
    assert not is_in_loop()
    assert read(store) == [1, 2]


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_a_server_that_is_gone_is_told_and_the_next_transaction_has_another_connection(
    store: Store,
) -> None:
    other = Store(store.url)
    for kept in (False, True):
        with pytest.raises(NotReady) as problem, store.begin() as connection:
            ((mine,),) = run_all(connection, [Statement("SELECT pg_backend_pid()")])[0]
            with other.snapshot() as beside:
                beside.execute(sa.text(f"SELECT pg_terminate_backend({mine})"))
            (run_at_end if kept else run_all)(connection, put(1))
        assert problem.value.code == "engine.store_unreachable"
        assert read(store) == []
    with store.begin() as connection:
        run_all(connection, put(2))
    assert read(store) == [2]
    other.close()
