"""The four walls on planted faults: each is found, told with an example, and gone from data without it."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from aimwell.data.event_intake import take_file
from aimwell.data.quality_drift import Figures
from aimwell.data.quality_history import read_trend
from aimwell.data.quality_time import find_gaps, find_strays
from aimwell.data.step import add_source, check
from aimwell.engine.workspace import Workspace
from tests.data.shop import make_workspace, query, write

START = date(2025, 1, 1)


def write_orders(
    folder: Path,
    days: range,
    *,
    silent: range = range(0),
    store: str = "S1",
    per_day: int = 12,
    name: str = "o.csv",
) -> Path:
    draw = random.Random(7)
    lines = ["customer_id,order_id,product_id,date,quantity,amount,store_id"]
    for day in days:
        if day in silent:
            continue
        for number in range(per_day):
            amount = f"{draw.uniform(3, 90):.2f}"
            shop = store if draw.random() < 0.7 else "S2"
            when = START + timedelta(days=day)
            lines.append(
                f"c{draw.randrange(80)},{name}{day}-{number},p{draw.randrange(9)},{when},1,{amount},{shop}"
            )
    return write(folder, "\n".join(lines) + "\n", name=name)


def find(workspace: Workspace, check_name: str, *, all_rows: bool = False) -> list[dict[str, object]]:
    rows = query(workspace, f"SELECT * FROM quality WHERE check_name = '{check_name}' ORDER BY column_name")
    return [row for row in rows if all_rows or row["severity"] != "ok"]


def add(workspace: Workspace, path: Path, table: str = "order_lines", source: str = "shop") -> None:
    add_source(workspace, path, table=table, source=source, accept=True)


def test_missing_days_are_found_and_sundays_are_not(tmp_path: Path) -> None:
    days = {
        START + timedelta(days=day): 5 for day in range(200) if (START + timedelta(days=day)).weekday() != 6
    }
    assert find_gaps(days, 0.01) == []
    for day in range(100, 106):
        days.pop(START + timedelta(days=day), None)
    (gap,) = find_gaps(days, 0.01)
    assert gap.first <= START + timedelta(days=100)
    assert gap.last >= START + timedelta(days=105)
    shop = make_workspace(tmp_path)
    add(shop, write_orders(tmp_path, range(150), silent=range(70, 77)))
    (found,) = find(shop, "missing_days")
    assert (found["affected"], found["wall"]) == (7, "unavailable")
    assert "2025-03-12 … 2025-03-18" in str(found["examples"])


def test_a_beginning_without_habit_and_a_sparse_source_have_no_gaps() -> None:
    early = {START: 1, START + timedelta(days=22): 1} | {
        START + timedelta(days=day): 9 for day in range(44, 200)
    }
    assert find_gaps(early, 0.01) == []
    assert find_gaps({START + timedelta(days=9 * number): 3 for number in range(40)}, 0.01) == []


def test_days_far_outside_the_period_are_strays() -> None:
    days = {START + timedelta(days=day): 500 for day in range(90)}
    assert find_strays(days) == {}
    assert find_strays(days | {date(1970, 1, 1): 2, date(2027, 1, 1): 1}) == {
        date(1970, 1, 1): 2,
        date(2027, 1, 1): 1,
    }


def test_a_source_that_fell_silent_is_named(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add(shop, write_orders(tmp_path, range(150)))
    add(shop, write_orders(tmp_path, range(60), name="branch.csv"), source="branch")
    (found,) = find(shop, "silent_source")
    assert (found["source"], found["affected"], found["wall"]) == ("branch", 90, "partial")


def write_people(folder: Path, *, rounded: float = 0.0, invented: float = 0.0) -> Path:
    draw = random.Random(11)
    lines = ["customer_id,age,balance,phone"]
    for number in range(3000):
        age = min(95, max(18, round(draw.gauss(46, 14))))
        age = 5 * round(age / 5) if draw.random() < rounded else age
        balance = round(draw.expovariate(1 / 2500)) + 1
        balance = draw.choice((777, 888, 5555, 6666)) if draw.random() < invented else balance
        phone = "13800000000" if draw.random() < invented else f"138{draw.randrange(10**8):08d}"
        lines.append(f"c{number},{age},{balance},{phone}")
    return write(folder, "\n".join(lines) + "\n", name="people.csv")


def test_rounded_and_invented_values_are_found(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add(shop, write_people(tmp_path, rounded=0.3, invented=0.05), "customers")
    (heap,) = find(shop, "round_numbers")
    assert heap["column_name"] == "age"
    assert 500 <= int(str(heap["affected"])) <= 900
    (repeated,) = find(shop, "repeated_digits")
    assert repeated["column_name"] == "balance"
    assert "777" in str(repeated["examples"])
    (placeholder,) = find(shop, "placeholder_contact")
    assert placeholder["examples"] == "[]"


def test_honest_values_are_left_alone(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add(shop, write_people(tmp_path), "customers")
    for name in ("round_numbers", "repeated_digits", "last_digits", "placeholder_contact"):
        assert find(shop, name) == []
        assert find(shop, name, all_rows=True) != []


def test_times_entered_by_hand_lie_on_quarters(tmp_path: Path) -> None:
    draw = random.Random(3)
    lines = ["customer_id,order_id,date,amount"]
    for number in range(2000):
        minute = draw.choice((0, 15, 30, 45)) if draw.random() < 0.4 else draw.randrange(60)
        when = f"{START + timedelta(days=number % 90)} {9 + number % 9:02d}:{minute:02d}:{draw.randrange(60):02d}"
        lines.append(f"c{number % 70},o{number},{when},9.90")
    shop = make_workspace(tmp_path)
    add(shop, write(tmp_path, "\n".join(lines) + "\n"))
    (found,) = find(shop, "round_times")
    assert 600 <= int(str(found["affected"])) <= 900


def test_the_next_load_is_compared_with_the_last(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add(shop, write_orders(tmp_path, range(100)))
    assert find(shop, "drift") == []
    add(shop, write_orders(tmp_path, range(100, 130), name="same.csv"))
    assert find(shop, "drift") == []
    assert find(shop, "vanished_values") == []
    assert find(shop, "volume_change") == []
    add(shop, write_orders(tmp_path, range(130, 160), store="S9", per_day=40, name="new.csv"))
    (drift,) = find(shop, "drift")
    assert drift["column_name"] == "store_id"
    (vanished,) = find(shop, "vanished_values")
    assert "S1" in str(vanished["examples"])
    (volume,) = find(shop, "volume_change")
    assert volume["source"] == "shop"
    check(shop)
    assert len(find(shop, "drift")) == 1


def test_snapshots_come_with_loads_and_show_the_trend(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add(shop, write_orders(tmp_path, range(100)))
    check(shop)
    add(shop, write_orders(tmp_path, range(100, 180), silent=range(120, 150), name="b.csv"))
    with shop.read() as reader:
        trend = read_trend(reader, source="shop")
    walls = {row["wall"]: row for row in trend}
    assert {len(row["scores"]) for row in trend} == {2}
    assert walls["unavailable"]["change"] < 0
    scores = check(shop).summary["scores"]
    assert scores["shop"]["unavailable"]["score"] == pytest.approx(
        walls["unavailable"]["scores"][-1]["score"]
    )


def test_figures_name_no_value_that_few_rows_hold(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    lines = ["customer_id,city,nickname"] + [
        f"c{n},{'杭州' if n % 2 else '上海'},绰号{n}" for n in range(300)
    ]
    lines.append("c999,孤岛,x")
    add(shop, write(tmp_path, "\n".join(lines) + "\n", name="p.csv"), "customers")
    packed = str(query(shop, "SELECT figures FROM quality_history WHERE check_name = 'figures'"))
    assert "杭州" in packed
    assert "孤岛" not in packed
    assert "绰号" not in packed
    assert Figures().columns == {}


def test_copied_baskets_and_repeated_events_are_counted(tmp_path: Path) -> None:
    lines = ["customer_id,order_id,product_id,date,quantity,amount"]
    for order in ("A1", "A2", "B1"):
        lines += [f"{order[0]},{order},p{n},2025-05-01,{n},{n}.00" for n in range(1, 5)]
    shop = make_workspace(tmp_path)
    add(shop, write(tmp_path, "\n".join(lines) + "\n"))
    (found,) = find(shop, "copied_baskets")
    assert (found["affected"], found["total"]) == (1, 3)


def test_nothing_is_compared_with_what_was_never_delivered(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add(shop, write(tmp_path, "customer_id,city\n1,a\n2,b\n", name="p.csv"), "customers")
    assert find(shop, "never_ordered", all_rows=True) == []
    assert [row["table_name"] for row in find(shop, "missing_table") if row["severity"] == "error"] == [
        "order_lines"
    ]


def test_events_that_were_set_aside_do_not_hinder_the_next_file(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    lines = [
        '{"type": "track", "event": "Broken"',
        '{"type": "track", "event": "View", "timestamp": "2025-01-02T00:00:00Z"}',
        '{"type": "track", "userId": "c1", "event": "View", "timestamp": "soon"}',
        '{"type": "track", "userId": "c1", "event": "View", "timestamp": "2025-01-02T00:00:00Z"}',
    ]
    take_file(shop, write(tmp_path, "\n".join(lines) + "\n", name="events.jsonl"))
    add(shop, write_orders(tmp_path, range(3)))
    found = {
        row["check_name"] for row in query(shop, "SELECT check_name FROM quality WHERE severity <> 'ok'")
    }
    assert {
        "rejected_data.event_no_json",
        "rejected_data.event_without_person",
        "rejected_data.event_bad_instant",
    } <= found


def test_a_file_whose_every_row_is_broken_is_told_row_by_row(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = tmp_path / "broken.csv"
    path.write_bytes(
        b"customer_id,order_id,date,amount,product\n" + b"1,1,2025-01-01,10,\xff\xfe\x81\x00\xc3\n"
    )
    summary = add_source(shop, path, table="order_lines", accept=True).summary
    assert (summary["accepted"], summary["rejected"]) == (0, 1)


def test_telephone_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    good = (
        "（+86）１３７０３５３７９０７",
        "+86 137 0353 7907",
        "137-0353-7907",
        "(021) 6288 1234",
        "００８６１３７０３５３７９０７",
    )
    bad = ("call me", "12", "137x0353")
    rows = [f"c{number},{phone}" for number, phone in enumerate((*good, *bad))]
    add(shop, write(tmp_path, "\n".join(["customer_id,phone", *rows]), name="people.csv"), "customers")
    (found,) = find(shop, "bad_phone")
    assert found["affected"] == len(bad)
