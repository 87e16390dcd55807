"""Readers see the customer in every table; what was delivered stays readable; old files lack no column."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.core.tables import ALL_TABLES, CONSENTS, CUSTOMERS, EVENTS, IDENTITIES
from aimwell.engine.session import Session
from aimwell.engine.settings import EngineSettings
from aimwell.engine.views import RESOLVED
from aimwell.engine.workspace import Workspace

DAY = date(2026, 3, 1)
RECORDS = ("a", "b", "c", "张三", "e")
ATTRIBUTES = ("email", "phone", "region", "年龄")


def test_the_tables_in_which_facts_arrive_are_the_ones_with_a_customer_that_data_writes() -> None:
    with_customer = {
        table.name
        for table in ALL_TABLES
        if table.writer.startswith("data") and "customer_id" in table.schema.names
    }
    assert set(RESOLVED) == with_customer - {"identities"}


def build_customers(rows: dict[str, dict[str, Any]]) -> pa.Table:
    names = ["customer_id", "source", *ATTRIBUTES]
    return pa.table({name: [row.get(name) for row in rows.values()] for name in names}).cast(
        pa.schema([(name, pa.string()) for name in names])
    )


def build_identities(joined: dict[str, str]) -> pa.Table:
    return IDENTITIES.build(
        [{"record_id": key, "customer_id": value, "run_id": "r"} for key, value in joined.items()]
    )


def build_events(customers: list[str]) -> pa.Table:
    return EVENTS.build(
        [
            {
                "event_id": f"e{number}",
                "customer_id": customer,
                "name": "Viewed",
                "occurred_at": datetime(2026, 1, 5, tzinfo=UTC),
                "occurred_on": date(2026, 1, 5),
                "source": "web",
                "simulated": False,
            }
            for number, customer in enumerate(customers)
        ]
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop")


def test_a_run_sees_its_own_joins_at_once(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.replace("events", build_events(["a", "b", "c"]))
        run.replace("customers", build_customers({key: {"customer_id": key, "source": "s"} for key in "abc"}))
        assert sorted(run.query("SELECT customer_id FROM events")["customer_id"].to_pylist()) == [
            "a",
            "b",
            "c",
        ]
        run.replace("identities", build_identities({"b": "a"}))
        assert sorted(run.query("SELECT customer_id FROM events")["customer_id"].to_pylist()) == [
            "a",
            "a",
            "c",
        ]
        assert sorted(run.query("SELECT customer_id FROM customers")["customer_id"].to_pylist()) == ["a", "c"]
        delivered = run.query("SELECT customer_id FROM delivered_events")["customer_id"].to_pylist()
        assert sorted(delivered) == ["a", "b", "c"]
        run.replace("identities", build_identities({}))
        assert run.query("SELECT customer_id FROM customers").num_rows == 3
    with workspace.run("data", as_of=DAY) as run:
        run.replace("identities", build_identities({"b": "a", "a": "a"}))
    with workspace.read() as reader:
        assert reader.query("SELECT customer_id FROM events WHERE customer_id = 'a'").num_rows == 2


def test_writing_in_place_of_some_rows_keeps_the_others_as_delivered(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.replace("events", build_events(["a", "b"]))
        run.replace("identities", build_identities({"b": "a"}))
        run.put("events", build_events([]), column="event_id", value="e0")
        assert run.query("SELECT customer_id FROM delivered_events")["customer_id"].to_pylist() == ["b"]


def test_files_older_than_a_column_show_it_empty(tmp_path: Path) -> None:
    old = build_events(["a"]).drop_columns(["received_at"])
    pq.write_table(old, tmp_path / "old.parquet")
    pq.write_table(build_events(["b"]), tmp_path / "new.parquet")
    for files in (["old.parquet"], ["old.parquet", "new.parquet"], ["new.parquet", "old.parquet"]):
        session = Session(EngineSettings(), tmp_path, {"events": files})
        found = session.query("SELECT * FROM events")
        assert found.schema.names == EVENTS.schema.names
        assert found["received_at"].type == pa.timestamp("us", tz="UTC")
        assert found.num_rows == len(files)
        session.close()


@st.composite
def draw_joins(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    groups = draw(st.lists(st.sampled_from(RECORDS), min_size=len(RECORDS), max_size=len(RECORDS)))
    joined = {
        record: group
        for record, group in zip(RECORDS, groups, strict=True)
        if group != record and draw(st.booleans())
    }
    # A customer is one of its own records: nobody is joined to a record that was joined elsewhere.
    joined = {record: group for record, group in joined.items() if group not in joined}
    value = st.none() | st.sampled_from(["x", "y", "王"])
    rows = {
        record: {name: draw(value) for name in ATTRIBUTES}
        | {"customer_id": record, "source": draw(st.sampled_from(["till", "web"]))}
        for record in draw(st.sets(st.sampled_from(RECORDS)))
    }
    return joined, rows


def merge(joined: dict[str, str], rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    customers: dict[str, dict[str, Any]] = {}
    for record, row in sorted(
        rows.items(), key=lambda item: (joined.get(item[0], item[0]) != item[0], item[1]["source"], item[0])
    ):
        customer = customers.setdefault(joined.get(record, record), {})
        for name in ("source", *ATTRIBUTES):
            customer[name] = row[name] if customer.get(name) is None else customer[name]
    return customers


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(draw_joins())
def test_a_customer_knows_what_its_records_know_the_best_first(
    tmp_path: Path, drawn: tuple[dict[str, str], dict[str, dict[str, Any]]]
) -> None:
    joined, rows = drawn
    number = len(list(tmp_path.iterdir()))
    files = {"customers": [f"{number}-c.parquet"], "identities": [f"{number}-i.parquet"]}
    pq.write_table(CUSTOMERS.validate(build_customers(rows)), tmp_path / files["customers"][0])
    pq.write_table(build_identities(joined), tmp_path / files["identities"][0])
    session = Session(EngineSettings(), tmp_path, files)
    found = {row.pop("customer_id"): row for row in session.query("SELECT * FROM customers").to_pylist()}
    session.close()
    assert {
        key: {name: row[name] for name in ("source", *ATTRIBUTES)} for key, row in found.items()
    } == merge(joined, rows)


def test_of_two_records_consents_of_one_instant_the_refusal_holds(workspace: Workspace) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)

    def consent(customer: str, allowed: bool, until: datetime | None, hour: int = 0) -> dict[str, Any]:
        return {
            "customer_id": customer,
            "channel": "sms",
            "purpose": "marketing",
            "allowed": allowed,
            "since": since.replace(hour=hour),
            "until": until,
            "source": "s",
        }

    soon, later = datetime(2026, 2, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    with workspace.run("data", as_of=DAY) as run:
        run.replace(
            "consents",
            CONSENTS.build(
                [
                    consent("a", True, None),
                    consent("b", False, soon),
                    consent("c", False, None),
                    consent("a", True, None, hour=1),
                    consent("b", True, later, hour=1),
                    consent("c", True, soon, hour=1),
                    consent("b", True, None, hour=2),
                    consent("z", True, None),
                ]
            ),
        )
        run.replace("identities", build_identities({"b": "a", "c": "a"}))
        found = run.query(
            "SELECT customer_id, allowed, since, until FROM consents ORDER BY customer_id, since"
        )
        assert [tuple(row.values()) for row in found.to_pylist()] == [
            ("a", False, since, None),
            ("a", True, since.replace(hour=1), soon),
            ("a", True, since.replace(hour=2), None),
            ("z", True, since, None),
        ]
