"""Every code is issued once, redeemed once, and counted once, whoever works on it and whatever is killed."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput, NotReady
from aimwell.data.erasure_store import list_person_tables
from aimwell.deployment.coupon_codes import ALPHABET, is_genuine, make_code, normalise, read_codes, show_code
from aimwell.deployment.coupons import (
    PoolCount,
    add_codes,
    count_pools,
    issue,
    issue_reserved,
    make_codes,
    open_pool,
    read_issued,
    redeem,
    redeem_events,
    take_back,
)
from aimwell.engine.content_tables import COUPON_ISSUES, COUPONS
from aimwell.engine.store import Store
from tests.deployment.issuing import DELIVERIES, POOLS, describe, name
from tests.deployment.stores import BOTH, find_address
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

WORKER = Path(__file__).with_name("issuing.py")
DAY_MS = 86_400_000


@pytest.fixture(params=BOTH)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return find_address(request.param, tmp_path, request)


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    opened = Store(address)
    yield opened
    opened.close()


def fill(store: Store, pool: str, count: int, **terms: int) -> None:
    with store.begin() as connection:
        open_pool(connection, pool, 0, **terms)
        add_codes(connection, pool, [f"{pool}-{number:04d}" for number in range(count)])


def count(store: Store, now_ms: int = 1_000) -> dict[str, PoolCount]:
    with store.snapshot() as connection:
        return {row.pool: row for row in count_pools(connection, now_ms)}


def test_a_delivery_has_one_code_whenever_it_is_asked_for(store: Store) -> None:
    fill(store, "p", 3)
    with store.begin() as connection:
        first = issue(connection, "p", "d1", "c1", 1_000)
        assert first == "p-0000"
        assert issue(connection, "p", "d1", "c1", 2_000) == first
        assert issue(connection, "p", "d2", "c1", 2_000) == "p-0001"
        assert issue(connection, "p", "d3", "c2", 2_000) == "p-0002"
        assert issue(connection, "p", "d4", "c2", 2_000) is None
        assert issue(connection, "none", "d5", "c2", 2_000) is None
        assert read_issued(connection, ["d1", "d4"]) == {"d1": first}
    assert count(store)["p"] == PoolCount("p", 3, 0, 3, 0, 0, None, None)


def test_what_was_not_committed_was_not_issued(store: Store) -> None:
    fill(store, "p", 1)
    with pytest.raises(ZeroDivisionError), store.begin() as connection:
        assert issue(connection, "p", "d1", "c1", 1_000)
        raise ZeroDivisionError
    with store.begin() as connection:
        assert issue(connection, "p", "d2", "c2", 1_000) == "p-0000"


def test_a_failed_delivery_gives_its_code_back_unless_it_was_redeemed(store: Store) -> None:
    fill(store, "p", 2)
    with store.begin() as connection:
        codes = [issue(connection, "p", f"d{number}", "c", 1_000) for number in range(2)]
        assert redeem(connection, str(codes[1]), 2_000, by="order 1") == "redeemed"
        assert take_back(connection, ["d0", "d1", "other"]) == 1
        assert take_back(connection, ["d0", "d1"]) == 0
        assert redeem(connection, str(codes[0]), 2_000, by="order 2") == "not_issued"
        assert issue(connection, "p", "d9", "c", 1_000) == codes[0]
    assert count(store)["p"] == PoolCount("p", 2, 0, 1, 1, 0, None, None)


def test_a_code_is_redeemed_once_and_saying_so_again_changes_nothing(store: Store) -> None:
    fill(store, "p", 2)
    with store.begin() as connection:
        code = str(issue(connection, "p", "d1", "c1", 1_000))
        assert redeem(connection, code.lower().replace("-", " "), 2_000, by="order 1") == "redeemed"
        assert redeem(connection, code, 3_000, by="order 1") == "redeemed"
        assert redeem(connection, code, 3_000, by="order 2") == "repeated"
        assert redeem(connection, "p-0001", 3_000, by="order 2") == "not_issued"
        assert redeem(connection, "nonsense", 3_000, by="order 2") == "unknown"
        assert redeem(connection, "'; DROP TABLE coupons; --" * 50, 3_000, by="order 2") == "unknown"
        redeemed = sa.select(COUPONS.c.redeemed_ms, COUPONS.c.redeemed_by).where(
            COUPONS.c.state == "redeemed"
        )
        assert [tuple(row) for row in connection.execute(redeemed)] == [(2_000, "order 1")]


def test_events_redeem(store: Store) -> None:
    fill(store, "p", 2)
    with store.begin() as connection:
        code = issue(connection, "p", "d1", "c1", 1_000)
    event = {"name": "Coupon Redeemed", "event_id": "e1", "occurred_at": datetime(2030, 1, 1, tzinfo=UTC)}
    events = [
        {**event, "properties": f'{{"coupon_code": "{code}"}}'},
        {**event, "properties": {"code": code}, "occurred_at": 5_000},
        {**event, "event_id": "e2", "properties": {"code": code}},
        {**event, "properties": {}},
        {**event, "properties": "no json"},
        {**event, "name": "Product Viewed", "properties": {"code": code}},
    ]
    with store.begin() as connection:
        assert redeem_events(connection, events) == {"redeemed": 2, "repeated": 1, "no_code": 2}
    assert count(store)["p"].redeemed == 1


def test_codes_end_with_their_pool_or_some_days_after_their_issue(store: Store) -> None:
    fill(store, "short", 2, expires_ms=10 * DAY_MS, valid_days=3)
    with store.begin() as connection:
        code = str(issue(connection, "short", "d1", "c1", DAY_MS))
        late = str(issue(connection, "short", "d2", "c2", 9 * DAY_MS))
        assert issue(connection, "short", "d3", "c3", 10 * DAY_MS) is None
    for at, expired in ((4 * DAY_MS - 1, 0), (4 * DAY_MS, 1), (10 * DAY_MS, 2)):
        row = count(store, at)["short"]
        assert row.expired == expired
        assert row.free + row.issued + row.redeemed + row.expired == row.total == 2
    with store.begin() as connection:
        assert redeem(connection, code, 4 * DAY_MS, by="o") == "expired"
        assert redeem(connection, code, 4 * DAY_MS - 1, by="o") == "redeemed"
        assert redeem(connection, late, 10 * DAY_MS, by="o") == "expired"


def test_what_is_loaded_is_added_known_or_refused(store: Store) -> None:
    with store.begin() as connection:
        with pytest.raises(NotReady):
            add_codes(connection, "p", ["AAA1"])
        with pytest.raises(BadInput):
            open_pool(connection, "", 0)
        open_pool(connection, "p", 0)
        open_pool(connection, "q", 0)
        done = add_codes(connection, "p", ["AAA-1", "aaa1", "BBB2", "", "x", "<b>", "C" * 65])
        assert (done.added, done.repeated, done.refused) == (2, 1, 4)
        again = add_codes(connection, "q", ["AAA1", "CCC3"])
        assert (again.added, again.repeated, again.refused) == (1, 1, 0)
        assert make_codes(connection, "q", 500) == 500
        for wrong in (0, -1, 5_000_001):
            with pytest.raises(BadInput):
                make_codes(connection, "q", wrong)
    counted = count(store)
    assert (counted["p"].total, counted["q"].total) == (2, 501)
    with store.begin() as connection:
        shown = str(issue(connection, "p", "d", "c", 1))
        assert shown == "AAA-1"


def test_no_code_is_given_twice_by_several_processes_that_are_killed(address: str, store: Store) -> None:
    for pool in POOLS:
        fill(store, pool, 150)
    chance = random.Random(5)
    running: list[subprocess.Popen[str]] = []
    for number in range(8):
        worker = subprocess.Popen(
            [sys.executable, str(WORKER), address, str(number), "25"], stdout=subprocess.PIPE, text=True
        )
        running.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        if number % 2:
            time.sleep(chance.uniform(0, 0.2))
            killed = running.pop(chance.randrange(len(running)))
            killed.kill()
            killed.communicate()
    for worker in running:
        worker.communicate(timeout=300)
    endings = {worker.returncode for worker in running}
    assert endings == {0}
    with store.snapshot() as connection:
        issues = connection.execute(sa.select(COUPON_ISSUES)).all()
        states = {
            row.code: row.state for row in connection.execute(sa.select(COUPONS.c.code, COUPONS.c.state))
        }
    assert len({row.delivery_id for row in issues}) == len({row.code for row in issues}) == len(issues)
    assert {code for code, state in states.items() if state != "free"} == {row.code for row in issues}
    counted = count(store)
    for pool in POOLS:
        row = counted[pool]
        assert row.total == 150
        assert row.free + row.issued + row.redeemed + row.expired == row.total
        assert row.issued + row.redeemed == sum(item.pool == pool for item in issues)
    # Nothing was lost: all that is free can still be issued, and no more.
    with store.begin() as connection:
        lacking = [describe(number) for number in range(DELIVERIES)]
        short = issue_reserved(connection, lacking, 1_000)
        assert len(short) == DELIVERIES - 300
        assert (
            Counter(
                read_issued(connection, [name(number) for number in range(DELIVERIES)]).values()
            ).most_common(1)[0][1]
            == 1
        )


def test_an_erased_person_leaves_every_code_counted_and_none_to_others(store: Store) -> None:
    fill(store, "p", 2)
    assert (COUPON_ISSUES, COUPON_ISSUES.c.customer_id) in list_person_tables()
    with store.begin() as connection:
        code = str(issue(connection, "p", "d1", "c1", 1_000))
        connection.execute(sa.delete(COUPON_ISSUES).where(COUPON_ISSUES.c.customer_id == "c1"))
        assert issue(connection, "p", "d2", "c2", 1_000) == "p-0001"
        assert issue(connection, "p", "d3", "c3", 1_000) is None
        assert redeem(connection, code, 2_000, by="order 1") == "redeemed"
    assert count(store)["p"] == PoolCount("p", 2, 0, 1, 1, 0, None, None)


def test_codes_are_checked_and_hold_nothing_that_is_misread() -> None:
    assert not set(ALPHABET) & set("01258BILOSUVZ")
    codes = {make_code() for _ in range(2_000)}
    assert len(codes) == 2_000
    assert all(is_genuine(code) and is_genuine(show_code(code).lower()) for code in codes)
    used = Counter("".join(code[:-1] for code in codes))
    assert set(used) == set(ALPHABET)
    with pytest.raises(ValueError, match="signs"):
        make_code(4)


@given(st.data())
def test_one_wrong_sign_or_two_swapped_are_always_found(data: st.DataObject) -> None:
    code = make_code(data.draw(st.integers(8, 22)))
    place = data.draw(st.integers(0, len(code) - 1))
    other = data.draw(st.sampled_from(ALPHABET.replace(code[place], "")))
    assert not is_genuine(code[:place] + other + code[place + 1 :])
    place = data.draw(st.integers(0, len(code) - 2))
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assert is_genuine(swapped) == (swapped == code)


def test_codes_come_from_files_as_people_have_them(tmp_path: Path) -> None:
    wide = tmp_path / "codes.csv"
    with wide.open("w", encoding="gb18030", newline="") as stream:
        csv.writer(stream).writerows([["编号", "券码"], ["1", "ABC-1"], ["2", ""], ["3", "'=ABC2"]])
    assert list(read_codes(wide)) == ["ABC-1", "=ABC2"]
    (tmp_path / "plain.csv").write_text("001234\nAB12\n", encoding="utf-8-sig")
    assert list(read_codes(tmp_path / "plain.csv")) == ["001234", "AB12"]
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (["code"], ["AB12"], [123456], ["００１２"]):
        sheet.append(row)
    book.save(tmp_path / "codes.xlsx")
    assert [normalise(code) for code in read_codes(tmp_path / "codes.xlsx")] == ["AB12", "123456", "0012"]
    sheet.append([1234567890123456789])
    book.save(tmp_path / "lost.xlsx")
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\x00\x00")
    for wrong in ("lost.xlsx", "broken.xlsx", "image.csv", "none.csv"):
        with pytest.raises(BadInput):
            list(read_codes(tmp_path / wrong))
