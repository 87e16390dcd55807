from __future__ import annotations

import csv
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.text import Language, set_language
from aimwell.deployment.channels.event_outbox import forward_events
from aimwell.deployment.desk.visit_sheet import ImportedVisits, export_visits, import_visits
from aimwell.deployment.desk.visits import (
    Client,
    Visit,
    find_late,
    list_visits,
    plan_visits,
    read_last_visits,
    save_plan,
)
from aimwell.engine.permissions import list_suppressions
from aimwell.engine.store import Store
from tests.deployment.scene import open_store
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

MONDAY = date(2026, 3, 2)
EVERY = {"A": 14, "B": 30, "C": 90}
WEEK = [MONDAY + timedelta(days=day) for day in range(5)]
MONTH = [MONDAY + timedelta(days=day) for day in range(28) if day % 7 < 5]


def client(
    name: str, kind: str = "A", value: int = 100, last: date | None = None, manager: str = "Li"
) -> Client:
    return Client(name, manager, kind, value, last)


def plan(*clients: Client, days: list[date] | None = None, a_day: int = 2) -> list[Visit]:
    return plan_visits(clients, days=days or WEEK, a_day=a_day, every_days=EVERY)


def test_class_then_value_decides_and_waiting_too_long_comes_first() -> None:
    forgotten = MONDAY - timedelta(days=200)
    visits = plan(
        client("b-rich", "B", 900), client("a-poor", "A", 10), client("a-rich", "A", 800),
        client("c-forgotten", "C", 1, forgotten), client("none", "Z", 10**9),
    )  # fmt: skip
    assert [visit.customer_id for visit in visits] == ["c-forgotten", "a-rich", "a-poor", "b-rich"]
    assert [visit.visit_on for visit in visits] == [WEEK[0], WEEK[0], WEEK[1], WEEK[1]]
    assert [visit.reason for visit in visits] == ["overdue", "due", "due", "due"]


def test_room_is_used_for_those_who_are_soon_due() -> None:
    soon, later = MONDAY - timedelta(days=12), MONDAY - timedelta(days=8)
    visits = plan(client("soon", last=soon), client("later", last=later))
    assert [(visit.customer_id, visit.visit_on, visit.reason) for visit in visits] == [
        ("soon", WEEK[0], "early"),
        ("later", WEEK[4], "early"),
    ]


CLIENTS = st.lists(
    st.builds(
        Client,
        customer_id=st.from_regex("c[0-9]{1,3}", fullmatch=True),
        account_manager=st.sampled_from(["Li", "Wu"]),
        customer_class=st.sampled_from(["A", "B", "C", "Z"]),
        value_cents=st.integers(0, 10**7),
        last_visit=st.none() | st.dates(MONDAY - timedelta(days=400), MONDAY - timedelta(days=1)),
    ),
    max_size=40,
    unique_by=lambda one: one.customer_id,
)


@given(CLIENTS, st.integers(1, 4))
def test_plans_keep_capacity_and_standards(clients: list[Client], a_day: int) -> None:
    visits = plan(*clients, days=MONTH, a_day=a_day)
    loads = Counter((visit.account_manager, visit.visit_on) for visit in visits)
    assert all(load <= a_day for load in loads.values())
    assert len({visit.visit_id for visit in visits}) == len(visits)
    own = {one.customer_id: one for one in clients}
    last = {one.customer_id: one.last_visit for one in clients}
    for visit in visits:
        assert visit.customer_class == own[visit.customer_id].customer_class in EVERY
        before, every = last[visit.customer_id], EVERY[visit.customer_class]
        assert before is None or visit.visit_on >= before + timedelta(days=every - every // 5)
        last[visit.customer_id] = visit.visit_on
    # Whoever has room on the last day left nobody behind.
    for late in find_late(clients, visits, until=MONTH[-1] + timedelta(days=1), every_days=EVERY):
        assert loads[late.account_manager, MONTH[-1]] == a_day
    assert plan(*reversed(clients), days=MONTH, a_day=a_day) == visits, (
        "the order of the rows decides nothing"
    )


def save(store: Store, visits: list[Visit], *, first: date = MONDAY, now: int = 1) -> int:
    with store.begin() as connection:
        return save_plan(connection, visits, first=first, now_ms=now)


def show(store: Store, **values: Any) -> list[Visit]:
    with store.begin() as connection:
        return list_visits(connection, first=MONDAY, last=MONTH[-1], **values)


def bring_in(store: Store, path: Path, now: int = 1_900_000_000_000) -> ImportedVisits:
    with store.begin() as connection:
        return import_visits(connection, path, now)


def rewrite(path: Path, change: Any, *, encoding: str = "utf-8-sig") -> None:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header, *rows = csv.reader(stream)
    changed = [change(dict(zip(header, row, strict=True))) for row in rows]
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([list(row.values()) for row in changed])


def check_round_trip(store: Store, path: Path, language: Language, encoding: str) -> None:
    visits = plan(client("a", value=12_345), client("b"), client("c"), client("=d", manager="Wu"))
    assert save(store, visits) == 4 and len(show(store)) == 4 and len(show(store, account_manager="Wu")) == 1
    set_language(language)
    try:
        export_visits(path, show(store), {"a": "王小明", "b": "=cmd()"})
        said = {"a": "已见到" if language == "zh" else "met", "b": "not_met", "c": "do_not_contact", "=d": ""}
        titles = (
            ("客户编号", "结果", "备注") if language == "zh" else ("customer number", "outcome", "remark")
        )

        def fill(row: dict[str, str]) -> dict[str, str]:
            return row | {titles[1]: said[row[titles[0]].lstrip("'")], titles[2]: "下月再来"}

        with path.open(encoding="utf-8-sig") as stream:
            assert "\n=" not in stream.read().replace(",", "\n"), "no cell is a formula"
        rewrite(path, fill, encoding=encoding)
        done = bring_in(store, path)
        assert (done.entered, done.unchanged, done.problems) == (3, 1, ())
        assert bring_in(store, path).entered == 0
    finally:
        set_language("en")
    with store.begin() as connection:
        assert read_last_visits(connection) == {"a": MONDAY, "c": WEEK[1]}
        assert [(line.customer_id, line.channel) for line in list_suppressions(connection)] == [("c", "all")]
    events: list[dict[str, Any]] = []
    forward_events(store, events.extend)
    assert sorted((event["event"], event["userId"]) for event in events) == [
        ("Consent Withdrawn", "c"), ("Visit Completed", "a"), ("Visit Completed", "b"), ("Visit Completed", "c"),
    ]  # fmt: skip
    # Planning again leaves what was done and replaces the rest.
    assert save(store, plan(client("e"), client("a", value=12_345))) == 1
    assert sorted(visit.customer_id for visit in show(store)) == ["a", "b", "c", "e"]


def test_the_plan_goes_out_and_comes_back(tmp_path: Path) -> None:
    check_round_trip(open_store(tmp_path), tmp_path / "visits.csv", "en", "utf-8")


def test_chinese_excel_brings_it_back_on_postgresql(tmp_path: Path, postgres: Server) -> None:  # noqa: F811
    postgres.run("CREATE DATABASE visits")
    store = Store(postgres.address("visits"))
    store.migrate()
    check_round_trip(store, tmp_path / "visits.csv", "zh", "gb18030")


def test_errors_name_row_and_column_and_nothing_is_entered(tmp_path: Path) -> None:
    store, path = open_store(tmp_path), tmp_path / "visits.csv"
    save(store, plan(client("a"), client("b"), client("c"), client("d"), client("e"), days=WEEK))
    set_language("en")
    export_visits(path, show(store), {})
    names = iter(["good", "outcome", "customer number", "visit number", "remark"])

    def spoil(row: dict[str, str]) -> dict[str, str]:
        row["outcome"], column = "met", next(names)
        return row if column == "good" else row | {column: "x" * 501}

    rewrite(path, spoil)
    done = bring_in(store, path)
    assert [(problem.where["row"], problem.where["column"]) for problem in done.problems] == [
        (3, "outcome"), (4, "customer_id"), (5, "visit_id"), (6, "note"),
    ]  # fmt: skip
    assert done.entered == 0 and all(visit.state == "planned" for visit in show(store))
    export_visits(path, [*show(store), show(store)[0]], {})
    assert [problem.where["row"] for problem in bring_in(store, path).problems] == [7]
