"""The store on PostgreSQL keeps what SQLite promised: one writer at a time, readers who never wait, clear words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.time import now
from aimwell.engine import store_engine
from aimwell.engine.hot_tables import HOT_GATE
from aimwell.engine.settings import (
    FILE_NAME,
    Settings,
    StoreSettings,
    check_settings,
    load_settings,
    write_settings,
)
from aimwell.engine.store import Store
from aimwell.engine.store_engine import has_password, hide_password
from aimwell.engine.store_errors import BUSY
from aimwell.engine.store_tables import DEFINITIONS
from aimwell.engine.workspace import Workspace
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)


@pytest.fixture
def address(postgres: Server, tmp_path: Path) -> str:  # noqa: F811
    name = f"store{abs(hash(tmp_path.name))}"
    postgres.run(f"CREATE DATABASE {name}")
    return postgres.address(name)


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    opened = Store(address)
    opened.migrate()
    yield opened
    opened.close()


def count(store: Store) -> int:
    with store.snapshot() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(DEFINITIONS)).scalar_one()


def test_a_writer_waits_for_another_and_readers_for_nobody(store: Store, address: str) -> None:
    second = Store(address)
    done: list[str] = []

    def write() -> None:
        second.save_definition("test", "second", {})
        done.append("second")

    with store.begin() as connection:
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.3)
        assert done == [], "it writes only when the first has ended"
        assert count(second) == 0
        # What was read before still holds: nobody wrote meanwhile.
        assert connection.execute(sa.select(sa.func.count()).select_from(DEFINITIONS)).scalar_one() == 0
        done.append("first")
    thread.join(180)
    assert done == ["first", "second"]


def test_versions_of_a_definition_have_no_gap_whoever_writes(store: Store, address: str) -> None:
    stores = [Store(address) for _ in range(4)]

    def write(one: Store, name: int) -> None:
        for number in range(10):
            one.save_definition("test", "x", {"by": name, "number": number})

    threads = [threading.Thread(target=write, args=(one, name)) for name, one in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    with store.snapshot() as connection:
        versions = connection.execute(
            sa.select(DEFINITIONS.c.version).order_by(DEFINITIONS.c.version)
        ).scalars()
        assert list(versions) == list(range(1, 41))


def test_transactions_with_gates_of_their_own_run_beside_each_other_but_not_beside_others(
    store: Store, address: str
) -> None:
    second = Store(address)
    with store.begin(gated=True) as connection:
        connection.execute(sa.update(HOT_GATE).values(turn=HOT_GATE.c.turn + 1))
        with second.begin(gated=True) as beside:
            assert beside.execute(sa.select(HOT_GATE.c.turn)).scalar_one() == 0
        thread = threading.Thread(target=second.save_definition, args=("test", "x", {}))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive(), "a transaction without a gate waits for all"
    thread.join(180)
    assert count(store) == 1


def test_a_writer_does_not_wait_for_ever(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_engine, "PATIENCE", 0.2)
    first, second = Store(address), Store(address)
    first.migrate()
    with first.begin(), pytest.raises(NotReady, match="too long"):
        second.save_definition("test", "x", {})
    second.save_definition("test", "x", {})
    assert count(first) == 1


def test_whoever_would_not_wait_is_told_at_once(address: str) -> None:
    first, second = Store(address), Store(address)
    first.migrate()
    for gated in (False, True):
        with first.begin(gated=gated), pytest.raises(NotReady) as problem, second.begin(wait=False):
            raise AssertionError("two write at once")
        assert problem.value.code == BUSY
    with first.begin(gated=True), second.begin(gated=True, wait=False) as beside:
        assert beside.execute(sa.select(sa.func.count()).select_from(DEFINITIONS)).scalar_one() == 0
    second.save_definition("test", "x", {})
    assert count(first) == 1


def test_two_who_wait_for_each_other_are_told_to_begin_anew(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(sa.text("CREATE TABLE a (n int); INSERT INTO a VALUES (1), (2)"))
    reached, codes = threading.Barrier(2), []

    def cross(mine: int, other: int) -> None:
        try:
            with store.begin(gated=True) as connection:
                connection.execute(sa.text("UPDATE a SET n = n WHERE n = :n"), {"n": mine})
                reached.wait(180)
                connection.execute(sa.text("UPDATE a SET n = n WHERE n = :n"), {"n": other})
        except Conflict as error:
            codes.append(error.code)

    threads = [threading.Thread(target=cross, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert codes == ["engine.store_contended"]


def test_two_processes_that_come_first_at_once_make_one_schema(address: str) -> None:
    stores = [Store(address, schema="own") for _ in range(3)]
    failed: list[BaseException] = []

    def migrate(one: Store) -> None:
        try:
            one.migrate()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=migrate, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert failed == []
    stores[0].save_definition("test", "x", {})
    assert [count(one) for one in stores] == [1, 1, 1]


def test_a_snapshot_can_write_nothing(store: Store) -> None:
    with pytest.raises(sa.exc.InternalError, match="read-only"), store.snapshot() as connection:
        connection.execute(sa.delete(DEFINITIONS))


def test_workspaces_in_schemas_of_one_database_know_nothing_of_each_other(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
    url = hide_password(address)
    made = [
        Workspace.create(tmp_path / name, settings=Settings(store=StoreSettings(url=url, schema_name=name)))
        for name in ("one", "two")
    ]
    made[0].store.save_definition("test", "x", {})
    assert [count(one.store) for one in made] == [1, 0]
    written = (tmp_path / "one" / FILE_NAME).read_text(encoding="utf-8")
    assert PASSWORD not in written
    assert load_settings(tmp_path / "one" / FILE_NAME).store.schema_name == "one"
    with pytest.raises(Conflict) as caught:
        Workspace.create(
            tmp_path / "three", settings=Settings(store=StoreSettings(url=url, schema_name="one"))
        )
    assert caught.value.code == "engine.store_taken"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"password": "wrong"}, "engine.store_refused"),
        ({"username": "nobody"}, "engine.store_refused"),
        ({"database": "nowhere"}, "engine.store_refused"),
        ({"port": 1}, "engine.store_unreachable"),
        ({"host": "nowhere.invalid"}, "engine.store_unreachable"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_words_without_a_password(
    address: str, change: dict[str, str | int], code: str
) -> None:
    url = sa.make_url(address).set(**change)  # type: ignore[arg-type]
    with pytest.raises(NotReady) as caught:
        Store(url.render_as_string(hide_password=False)).migrate()
    assert caught.value.code == code
    shown = caught.value.render("en") + str(caught.value.to_dict())
    assert PASSWORD not in shown
    assert str(url.password) not in shown


def test_what_was_to_be_written_stands_in_no_error(store: Store) -> None:
    row = {"kind": "13800138000" * 10, "name": "alice@example.com", "version": 1, "body": {}}
    with pytest.raises(sa.exc.DataError) as caught, store.begin() as connection:
        connection.execute(sa.insert(DEFINITIONS).values(**row, created_at=now()))
    assert "13800138000" not in str(caught.value)
    assert "alice" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://h/d", "postgresql://h", "file.sqlite", "sqlite:///x", ""])
def test_addresses_that_are_none_are_explained(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_settings({"store": {"url": url}}, FILE_NAME)
    assert caught.value.where["column"] == "store.url"
    assert "postgresql://" in caught.value.render("en")
    assert "postgresql://" in caught.value.render("zh")


@pytest.mark.parametrize(
    "line",
    [
        '[store]\nurl = "postgresql://a:hunter2@h/d"',
        '[store]\nurl = "postgresql://a@h/d?password=hunter2"',
        'store_password = "hunter2"',
        '[store]\nurl = "mysql://a:hunter2@h/d"',
    ],
)
def test_a_password_in_the_file_is_refused_and_not_shown(tmp_path: Path, line: str) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(line, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_settings(file)
    assert caught.value.code == "engine.store_password_in_file"
    assert "hunter2" not in str(caught.value.to_dict())


def test_a_password_from_the_environment_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMWELL_STORE__URL", "postgresql://a:hunter2@h/d?sslmode=require")
    settings = check_settings({}, FILE_NAME)
    assert settings.store.url is not None
    assert has_password(settings.store.url)
    write_settings(settings, tmp_path / FILE_NAME)
    written = (tmp_path / FILE_NAME).read_text(encoding="utf-8")
    assert "hunter2" not in written
    assert "postgresql://a@h/d?sslmode=require" in written
