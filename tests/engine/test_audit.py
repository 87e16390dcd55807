"""The audit log's chain: whatever is changed, moved, put in or taken out is found; an erasure breaks nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.engine.audit import Anchor, Break, empty_entries, read_anchor, read_entries, record, verify
from aimwell.engine.store import Store
from aimwell.engine.store_tables import AUDIT_GATE, AUDIT_LOG
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = Store.open_file(tmp_path / "store.sqlite")
    else:
        server: Server = request.getfixturevalue("postgres")
        opened = Store(server.address(), schema=f"audit_{abs(hash(tmp_path.name))}")
        opened.migrate()
    for number in range(1, 6):
        opened.audit("customer.revealed", "profile", {"customer_id": f"c{number}", "词": "值"}, actor="王芳")
    yield opened
    opened.close()


def change(store: Store, *statements: sa.Update | sa.Delete | sa.Insert) -> None:
    with store.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def look(store: Store, *anchors: Anchor) -> list[tuple[int, str]]:
    with store.snapshot() as connection:
        return [(one.entry, one.problem) for one in verify(connection, anchors).breaks]


def entry(number: int) -> sa.ColumnElement[bool]:
    return AUDIT_LOG.c.entry == number


def read_entry(store: Store, number: int) -> dict[str, Any]:
    with store.snapshot() as connection:
        return dict(connection.execute(sa.select(AUDIT_LOG).where(entry(number))).mappings().one())


def test_what_nobody_touched_holds(store: Store) -> None:
    with store.snapshot() as connection:
        found = verify(connection, [Anchor(3, read_entry(store, 3)["hash"])])
        assert (found.entries, found.emptied, found.breaks) == (5, 0, ())
        assert found.anchor == read_anchor(connection) == Anchor(5, read_entry(store, 5)["hash"])
    assert Anchor.read(str(found.anchor)) == found.anchor


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "somebody"),
        ("action", "customer.seen"),
        ("subject", "list"),
        ("detail", {"customer_id": "c9"}),
        ("words", "0" * 64),
        ("salt", "0" * 32),
        ("hash", "0" * 64),
    ],
)
def test_a_changed_entry_is_found(store: Store, column: str, value: Any) -> None:
    change(store, sa.update(AUDIT_LOG).where(entry(3)).values({column: value}))
    assert (3, "changed") in look(store)


def test_a_changed_instant_is_found(store: Store) -> None:
    earlier = read_entry(store, 1)["at"]
    change(store, sa.update(AUDIT_LOG).where(entry(3)).values(at=earlier))
    assert look(store) == [(3, "changed")]


def test_entries_in_another_order_are_found(store: Store) -> None:
    change(
        store,
        sa.update(AUDIT_LOG).where(entry(2)).values(entry=99),
        sa.update(AUDIT_LOG).where(entry(3)).values(entry=2),
        sa.update(AUDIT_LOG).where(entry(99)).values(entry=3),
    )
    assert [number for number, _ in look(store)][:2] == [2, 3]


def test_an_entry_missing_in_the_middle_is_found(store: Store) -> None:
    change(store, sa.delete(AUDIT_LOG).where(entry(3)))
    assert look(store) == [(4, "missing")]
    change(store, sa.update(AUDIT_LOG).where(entry(4)).values(entry=3))
    assert (3, "changed") in look(store), "numbering anew does not hide it"


def test_an_entry_missing_at_the_end_is_found(store: Store) -> None:
    kept = Anchor(5, read_entry(store, 5)["hash"])
    change(store, sa.delete(AUDIT_LOG).where(entry(5)))
    assert look(store) == [(5, "end_missing")]
    # Whoever puts the gate back as well is found by what was kept elsewhere.
    change(store, sa.update(AUDIT_GATE).values(entry=4, head=read_entry(store, 4)["hash"]))
    assert look(store) == []
    assert look(store, kept) == [(5, "end_missing")]


def test_an_entry_that_was_put_in_is_found(store: Store) -> None:
    false = {**read_entry(store, 5), "entry": 6}
    change(store, sa.insert(AUDIT_LOG).values(**false))
    assert (6, "changed") in look(store)
    assert (6, "beyond_end") in look(store)


def test_a_chain_written_anew_is_found_by_its_anchor(store: Store) -> None:
    kept = Anchor(5, read_entry(store, 5)["hash"])
    with store.begin() as connection:
        rows = [dict(row) for row in read_entries(connection)]
        connection.execute(sa.delete(AUDIT_LOG))
        connection.execute(sa.update(AUDIT_GATE).values(entry=0, head="0" * 64))
        for row in rows:
            record(connection, row["action"], row["subject"], {"customer_id": "other"}, actor="nobody")
    assert look(store) == []
    assert look(store, kept) == [(5, "anchor")]


def test_an_erasure_empties_words_and_breaks_nothing(store: Store) -> None:
    kept = Anchor(5, read_entry(store, 5)["hash"])
    with store.begin() as connection:
        empty_entries(connection, {2: {"detail": {"customer_id": "[erased]"}}, 4: {"subject": "[erased]"}})
    with store.snapshot() as connection:
        found = verify(connection, [kept])
    assert (found.entries, found.emptied, found.breaks) == (6, 2, ())
    emptied = read_entry(store, 2)
    assert emptied["salt"] is None, "nobody can guess what stood there"
    assert emptied["detail"] == {"customer_id": "[erased]"}


def test_words_that_went_without_an_erasure_are_found(store: Store) -> None:
    change(store, sa.update(AUDIT_LOG).where(entry(2)).values(detail={}, salt=None))
    with store.snapshot() as connection:
        assert verify(connection).breaks == (Break(2, "unexplained"),)


def test_many_writers_make_one_chain(store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: store.audit("test.written", str(number)), range(60)))
    with store.snapshot() as connection:
        found = verify(connection)
    assert (found.entries, found.breaks) == (65, ())


def test_a_transaction_that_fails_leaves_no_gap(store: Store) -> None:
    with pytest.raises(RuntimeError), store.begin() as connection:
        record(connection, "test.failed", "x")
        raise RuntimeError
    store.audit("test.written", "y")
    assert read_entry(store, 6)["subject"] == "y"
    assert look(store) == []
