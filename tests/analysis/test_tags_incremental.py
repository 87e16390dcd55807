"""Computing only what changed gives the same tags, to the bit, as computing everything: random shops and days."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aimwell.analysis import tag_measuring, tags
from aimwell.analysis.own_tags import save_tag
from aimwell.analysis.tags import ComputedTags, compute_tags
from aimwell.core.tables import TABLES
from aimwell.core.time import now
from aimwell.data.erasure import erase_person
from aimwell.engine.compaction import compact, merge_files
from aimwell.engine.files import is_overlay, is_patch
from aimwell.engine.hot_events import HotBatch
from aimwell.engine.vacuum import vacuum
from aimwell.engine.views import read_schema
from aimwell.engine.workspace import Run, Workspace
from tests.analysis.shop import PRODUCTS, make_workspace

START = date(2024, 3, 31)
EVENTS = ("Product Viewed", "Product Added", "Message Sent", "Email Opened", "Coupon Redeemed")
PEOPLE = st.sampled_from(["a", "b", "c", "d"])
DAYS = st.one_of(
    st.integers(-9, 12), st.sampled_from([27, 28, 30, 31, 60, 89, 90, 91, 180, 364, 365, 366, 730])
)
LINES = st.lists(
    st.tuples(
        PEOPLE,
        st.integers(1, 6),
        DAYS,
        st.sampled_from(["bread", "milk", "ball", None]),
        st.integers(-900, 3000),
        st.integers(0, 23),
    ),
    max_size=6,
)
SEEN = st.lists(
    st.tuples(PEOPLE, st.sampled_from(EVENTS), DAYS, st.sampled_from(["bread", "ball"])), max_size=6
)
SIGNALS = st.lists(
    st.tuples(PEOPLE, st.sampled_from(["satisfaction", "complaint"]), DAYS, st.integers(0, 10)), max_size=3
)
STEP = st.tuples(st.sampled_from([0, 1, 1, 2, 7, 30]), LINES, SEEN, SIGNALS)


class Deliveries:
    """Rows with keys of their own, however often something is delivered."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._count = 0

    def deliver(self, lines: list[Any], events: list[Any], signals: list[Any]) -> None:
        with self._workspace.run("data", as_of=START) as run:
            self._append(run, "order_lines", [self._build_line(*line) for line in lines])
            self._append(run, "events", [self._build_event(*event) for event in events])
            self._append(run, "signals", [self._build_signal(*signal) for signal in signals])

    def take_in(self, events: list[Any]) -> None:
        """As the service takes events in: into the store, in no file yet."""
        rows = TABLES["events"].build([self._build_event(*event) for event in events])
        ids = rows.column("event_id").to_pylist()
        self._workspace.hot.append(HotBatch(ids, {"events": (rows, np.arange(len(ids)))}))

    def _append(self, run: Run, table: str, rows: list[dict[str, Any]]) -> None:
        run.append(table, TABLES[table].build(rows))

    def _next(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def _find_moment(self, day: date) -> datetime:
        """One of a few instants of the day, in another order than that of deliveries."""
        return datetime(day.year, day.month, day.day, self._count * 5 % 8, tzinfo=UTC)

    def _build_line(
        self, customer: str, order: int, days: int, product: str | None, cents: int, hour: int
    ) -> dict[str, Any]:
        day = START - timedelta(days=days)
        return {
            "line_id": self._next(),
            "order_id": f"{customer}{order}",
            "customer_id": customer,
            "product_id": product,
            "ordered_at": datetime(day.year, day.month, day.day, hour, tzinfo=UTC),
            "ordered_on": day,
            "ordered_hour": hour,
            "quantity": -0.1 if cents < 0 else 0.1 * (cents % 7 + 1),
            "revenue": Decimal(cents) / 100,
            "discount": Decimal(cents % 5) / 10,
            "store_id": f"S{cents % 3}",
            "source": "t",
            "simulated": False,
        }

    def _build_event(self, customer: str, name: str, days: int, product: str) -> dict[str, Any]:
        day = START - timedelta(days=days)
        return {
            "event_id": self._next(),
            "customer_id": customer,
            "name": name,
            "occurred_at": self._find_moment(day),
            "occurred_on": day,
            "product_id": product,
            "channel": "web" if days % 2 else "app",
            "campaign_id": f"k{days % 3}",
            "source": "t",
            "simulated": False,
        }

    def _build_signal(self, customer: str, kind: str, days: int, score: int) -> dict[str, Any]:
        day = START - timedelta(days=days)
        return {
            "signal_id": self._next(),
            "customer_id": customer,
            "kind": kind,
            "name": "nps" if score % 2 else "delivery",
            "score": score / 3,
            "given_at": self._find_moment(day),
            "given_on": day,
            "source": "t",
        }


def fill(workspace: Workspace) -> Deliveries:
    """A shop in which every kind of row is there, so that later deliveries bring no new kind."""
    with workspace.run("data", as_of=START) as run:
        run.replace("products", TABLES["products"].build(PRODUCTS))
        people = [{"customer_id": name, "email": f"{name}@x.cn", "source": "t"} for name in "abe"]
        run.replace("customers", TABLES["customers"].build(people))
    deliveries = Deliveries(workspace)
    deliveries.deliver(
        [("a", 1, 100, "bread", 500, 9), ("b", 1, 12, "milk", 700, 20)],
        [("a", name, 40, "bread") for name in EVENTS],
        [("b", "satisfaction", 50, 9), ("b", "complaint", 20, 3), ("a", "complaint", 20, 4)],
    )
    return deliveries


def compute(workspace: Workspace, as_of: date) -> tuple[ComputedTags, pa.Table]:
    with workspace.run("analysis", as_of=as_of) as run:
        computed = compute_tags(workspace, run)
    with workspace.read() as reader:
        return computed, read(reader)


class _Abandoned(Exception):
    """Ends a run without leaving anything."""


def compute_everything(workspace: Workspace, as_of: date) -> pa.Table:
    found = None
    try:
        with workspace.run("analysis", as_of=as_of) as run:
            compute_tags(workspace, run, everything=True)
            found = read(run)
            raise _Abandoned
    except _Abandoned:
        assert found is not None
        return found


def read(reader: Any) -> pa.Table:
    return reader.query("SELECT * FROM tags ORDER BY customer_id").drop_columns(["run_id"])


@pytest.fixture(autouse=True, scope="module")
def patch_always() -> Iterator[None]:
    """Even a shop of four customers is patched where it can be, rather than written anew, and in several ranges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tags, "_MOST_PATCHED", 99.0)
        patch.setattr(tags, "_MOST_COLUMNS", 1.0)
        patch.setattr(tag_measuring, "_CELLS_IN_A_RANGE", 300)
        yield


def assert_same(workspace: Workspace, as_of: date, *, built: bool = True) -> pa.Table:
    """Compute what changed, and compare it with everything; what was found. ``built``: something must be built on."""
    computed, found = compute(workspace, as_of)
    assert not (built and computed.changes.is_full), computed.changes.explain()
    expected = compute_everything(workspace, as_of)
    wrong = [name for name in expected.column_names if not found[name].equals(expected[name])]
    assert wrong == [], [(found[name].to_pylist(), expected[name].to_pylist()) for name in wrong]
    counts = {name: found.num_rows - found[name].null_count for name in computed.known}
    assert dict(computed.known) == counts
    assert computed.customers == found.num_rows
    return found


def list_files(workspace: Workspace) -> list[str]:
    with workspace.run("look", as_of=START) as run:
        return run.list_files("tags")


def list_patches(workspace: Workspace) -> list[str]:
    return [path for path in list_files(workspace) if is_patch(path)]


def list_overlays(workspace: Workspace) -> list[str]:
    return [path for path in list_files(workspace) if is_overlay(path)]


def list_plain(workspace: Workspace) -> list[str]:
    return [path for path in list_files(workspace) if not is_patch(path) and not is_overlay(path)]


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.lists(STEP, min_size=1, max_size=4))
def test_only_what_changed_gives_the_same_as_everything(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder))
        deliveries, as_of = fill(workspace), START
        compute(workspace, as_of)
        for days, lines, events, signals in steps:
            deliveries.deliver(lines, events, signals)
            as_of += timedelta(days=days)
            assert_same(workspace, as_of)
        workspace.close()


def test_events_of_the_same_day_patch_only_whom_they_concern(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    _, before = compute(workspace, START)
    deliveries.deliver([], [("b", "Product Viewed", 3, "ball"), ("new", "Product Viewed", 2, "milk")], [])
    assert_same(workspace, START)
    assert len(list_patches(workspace)) == 1
    deliveries.deliver([], [("b", "Product Viewed", 2, "milk"), ("later", "Product Viewed", -2, "milk")], [])
    found = assert_same(workspace, START)
    # The second patch holds the first one's rows too, and takes its place.
    assert len(list_patches(workspace)) == 1
    views = dict(zip(found["customer_id"].to_pylist(), found["product_views_30d"].to_pylist(), strict=True))
    assert (views["b"], views["new"]) == (2, 1)
    assert "later" not in views
    untouched = [row for row in before.to_pylist() if row["customer_id"] == "a"]
    assert untouched == [row for row in found.to_pylist() if row["customer_id"] == "a"]
    base = list_plain(workspace)
    assert_same(workspace, START + timedelta(days=2))
    # The day writes columns of all, and whole rows of those whom the patch holds.
    assert (list_plain(workspace), len(list_patches(workspace))) == (base, 1)
    workspace.close()


def test_what_was_last_follows_the_instants_of_one_day(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    fill(workspace)
    form = {
        "measure": {"table": "events", "function": "earliest", "column": "product_id", "window": {"days": 7}}
    }
    with workspace.read() as reader:
        save_tag(reader, workspace.store, "seen_first_7d", {"form": form})
    compute(workspace, START)
    day, seen = START - timedelta(days=1), []
    for number, (product, hour) in enumerate((("milk", 9), ("ball", 21), ("other", 4), ("bread", 21))):
        row = {"event_id": f"at {number}", "customer_id": "b", "name": "Product Viewed", "occurred_on": day}
        row |= {"product_id": product, "source": "t", "simulated": False}
        row["occurred_at"] = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
        with workspace.run("data", as_of=START) as run:
            run.append("events", TABLES["events"].build([row]))
        found = assert_same(workspace, START)
        place = found["customer_id"].to_pylist().index("b")
        seen.append(tuple(found[name][place].as_py() for name in ("last_viewed_product", "seen_first_7d")))
    assert list_patches(workspace)
    # Of two at the same instant the greatest, whichever came first.
    assert seen == [("milk", "milk"), ("ball", "milk"), ("ball", "other"), ("bread", "other")]
    found = assert_same(workspace, START + timedelta(days=1))
    assert found["last_viewed_product"][place].as_py() == "bread"
    workspace.close()


def test_orders_after_a_patch_are_compared_with_everybody(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    deliveries.deliver([], [("b", "Product Viewed", 3, "ball")], [("a", "complaint", 1, 2)])
    assert_same(workspace, START)
    deliveries.deliver([("b", 7, 4, "milk", 2500, 11)], [], [])
    assert_same(workspace, START)
    workspace.close()


def test_orders_of_the_same_day_write_rows_of_buyers_and_compared_columns_of_all(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    words = "CASE WHEN email_known THEN value_percentile * 2 ELSE rfm_r END"
    own = {"form": {"expression": {"sql": words, "type": "real"}}, "keeps_history": True}
    sql = "SELECT customer_id, COUNT(*) AS n FROM events GROUP BY customer_id"
    with workspace.read() as reader:
        save_tag(reader, workspace.store, "rank_twice", own)
        save_tag(reader, workspace.store, "rows_of_events", {"sql": sql})
    compute(workspace, START)
    base = list_plain(workspace)
    deliveries.deliver([], [("e", "Product Viewed", 3, "ball")], [])
    assert_same(workspace, START)
    deliveries.deliver([("a", 7, 4, "milk", 2500, 11), ("new", 1, 2, "bread", 700, 9)], [], [])
    before = assert_same(workspace, START)
    assert (len(list_patches(workspace)), len(list_overlays(workspace))) == (1, 1)
    deliveries.deliver([("b", 8, 3, "milk", 9900, 11)], [("a", "Product Viewed", 1, "ball")], [])
    found = assert_same(workspace, START)
    # Nobody sold anything to "a" meanwhile, but "b" paid more.
    changed = [name for name in found.column_names if not found[name].equals(before[name])]
    assert {"value_percentile", "rank_twice", "rows_of_events", "orders_365d"} <= set(changed)
    assert list_plain(workspace) == base
    assert (len(list_patches(workspace)), len(list_overlays(workspace))) == (1, 1)
    deliveries.deliver([("e", 9, 1, "milk", 100, 11)], [], [])
    assert_same(workspace, START + timedelta(days=1))
    assert list_plain(workspace) == base
    assert (len(list_patches(workspace)), len(list_overlays(workspace))) == (1, len(base))
    workspace.close()


def test_a_day_later_only_columns_that_can_be_others_are_written(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    base = list_plain(workspace)
    assert len(base) > 1
    assert_same(workspace, START + timedelta(days=1))
    lower = list_overlays(workspace)
    assert (list_plain(workspace), len(lower)) == (base, len(base))
    columns = read_schema(workspace.warehouse_folder / path for path in lower)
    assert "days_since_event" in columns and "email_known" not in columns and "consent_email" not in columns
    deliveries.deliver([("a", 7, 4, "milk", 2500, 11)], [("b", "Product Added", 3, "ball")], [])
    assert_same(workspace, START + timedelta(days=1))
    # What compares customers lies above what the day changed, and the patch above both.
    upper = [path for path in list_overlays(workspace) if path not in lower]
    assert (set(lower) < set(list_overlays(workspace)), len(upper), len(list_patches(workspace))) == (
        True,
        1,
        1,
    )
    deliveries.deliver([("b", 8, 2, "milk", 9900, 11)], [], [])
    assert_same(workspace, START + timedelta(days=1))
    assert (len(list_overlays(workspace)), len(list_patches(workspace))) == (len(lower) + 1, 1)
    assert_same(workspace, START + timedelta(days=2))
    # One overlay of the day again, in which the other's columns are, too.
    assert list_plain(workspace) == base
    assert (len(list_overlays(workspace)), len(list_patches(workspace))) == (len(lower), 1)
    workspace.close()


def test_days_that_pass_write_over_what_days_before_wrote(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    base = list_plain(workspace)
    for days, order in ((1, 0), (3, 1), (8, 2), (10, 0), (30, 3), (31, 0)):
        day = START + timedelta(days=days)
        if order:
            lines = [("a", order, -days + 1, "bread", 800 * order, 10)]
            deliveries.deliver(lines, [("b", name, -days + 1, "ball") for name in EVENTS], [])
        assert_same(workspace, day)
        assert list_plain(workspace) == base
        assert len(list_overlays(workspace)) == len(base)
    erase_person(workspace, "b", dry_run=False)
    with workspace.read() as reader:
        assert reader.query("SELECT customer_id FROM tags")["customer_id"].to_pylist().count("b") == 0
    workspace.close()


def test_what_persons_are_and_allow_changes_with_the_day(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    fill(workspace)
    people = [{"customer_id": name, "phone": "13800000000", "source": "t"} for name in ("a", "b", "e", "f")]
    rows = TABLES["customers"].build(people)
    born = ["2004-04-01", "1990-04-02", None, "no day"]
    joined = ["2024-03-31", "2024-04-01", "2020-01-01", None]
    rows = rows.append_column("birth_date", pa.array(born)).append_column("joined_on", pa.array(joined))
    said = [
        ("a", True, 1, None),
        ("b", True, 1, 3),
        ("e", True, 3, None),
        ("f", True, 1, None),
        ("f", False, 4, None),
    ]
    consents = [
        {"customer_id": name, "channel": "sms", "purpose": "marketing", "allowed": allowed, "source": "t"}
        | {"since": datetime(2024, 3, 30, 16, tzinfo=UTC) + timedelta(days=since)}
        | {"until": until and datetime(2024, 3, 30, 16, tzinfo=UTC) + timedelta(days=until)}
        for name, allowed, since, until in said
    ]
    with workspace.run("data", as_of=START) as run:
        run.replace("customers", rows)
        run.append("consents", TABLES["consents"].build(consents))
    compute(workspace, START)
    seen = []
    for days in range(1, 6):
        found = assert_same(workspace, START + timedelta(days=days))
        seen.append([found[name].to_pylist() for name in ("contactable_sms", "age_years", "membership_days")])
    assert [row[0] for row in seen] == [
        [False, False, False, False],
        [True, True, False, True],
        [True, False, False, True],
        [True, False, True, True],
        [True, False, True, False],
    ]
    assert [row[1][:2] for row in seen] == [[20, 33], [20, 34], [20, 34], [20, 34], [20, 34]]
    assert [row[2][:2] for row in seen][:2] == [[1, 0], [2, 1]]
    assert list_plain(workspace) and list_overlays(workspace)
    workspace.close()


def test_history_of_a_day_that_is_computed_twice_is_that_of_computing_it_once(tmp_path: Path) -> None:
    histories = []
    for steps in (["a"], ["a", "b"], ["b", "a"]):
        workspace = make_workspace(tmp_path / "-".join(steps))
        deliveries = fill(workspace)
        compute(workspace, START - timedelta(days=3))
        compute(workspace, START)
        for name in steps:
            deliveries.deliver([(name, 7, 4, "milk", 2500, 11)], [], [])
            assert_same(workspace, START)
        if len(steps) == 1:
            deliveries.deliver([("b", 7, 4, "milk", 2500, 11)], [], [])
            with workspace.run("analysis", as_of=START) as run:
                compute_tags(workspace, run, everything=True)
        with workspace.read() as reader:
            sql = "SELECT customer_id, tag, value, since FROM tag_history ORDER BY ALL"
            histories.append(reader.query(sql).to_pylist())
        workspace.close()
    assert histories[0] == histories[1] == histories[2]


def test_hot_rows_count_before_and_after_they_are_moved_and_merged(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    deliveries.take_in([("a", "Product Viewed", 2, "ball")])
    assert_same(workspace, START)
    deliveries.take_in([("b", "Email Opened", 5, "ball"), ("new", "Product Added", 1, "milk")])
    assert_same(workspace, START)
    assert compact(workspace).rows == 3
    assert_same(workspace, START)
    for number in range(12):
        deliveries.deliver(
            [("b", number, 4, "milk", 100 + number, 11)], [("a", "Product Viewed", 6, "milk")], []
        )
    assert merge_files(workspace, most_files=2).removed > 0
    assert_same(workspace, START)
    assert_same(workspace, START + timedelta(days=1))
    workspace.close()


def test_merging_files_leaves_a_patch_a_patch(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    deliveries.deliver([], [("b", "Product Viewed", 3, "ball")], [])
    found = assert_same(workspace, START)
    merge_files(workspace, most_files=1)
    with workspace.read() as reader:
        assert read(reader).equals(found)
    workspace.close()


def test_a_person_is_erased_from_a_patch(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    deliveries.deliver([], [(name, "Product Viewed", 3, "ball") for name in ("a", "b")], [])
    before = assert_same(workspace, START)
    erase_person(workspace, "b", dry_run=False)
    assert len(list_patches(workspace)) == 1
    with workspace.read() as reader:
        left = read(reader)
    assert left.equals(before.filter(pc.not_equal(before["customer_id"], "b")))
    workspace.close()


def test_a_person_is_erased_from_an_overlay(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    deliveries.deliver([("a", 7, 4, "milk", 2500, 11)], [], [])
    before = assert_same(workspace, START)
    erase_person(workspace, "b", dry_run=False)
    assert len(list_overlays(workspace)) == 1
    with workspace.read() as reader:
        left = read(reader)
    assert left.equals(before.filter(pc.not_equal(before["customer_id"], "b")))
    workspace.close()


def test_customers_and_consents_delivered_anew_are_looked_at_again(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    fill(workspace)
    compute(workspace, START)
    people = [{"customer_id": name, "phone": "13800000000", "source": "t"} for name in "abf"]
    consents = [
        {
            "customer_id": "b",
            "channel": "sms",
            "purpose": "marketing",
            "allowed": True,
            "since": datetime(2024, 1, 1, tzinfo=UTC),
            "until": datetime(2024, 4, 1, tzinfo=UTC),
            "source": "t",
        }
    ]
    with workspace.run("data", as_of=START) as run:
        run.replace("customers", TABLES["customers"].build(people))
        run.append("consents", TABLES["consents"].build(consents))
    found = assert_same(workspace, START)
    assert found["customer_id"].to_pylist() == ["a", "b", "f"]
    reached = dict(zip(found["customer_id"].to_pylist(), found["contactable_sms"].to_pylist(), strict=True))
    assert reached == {"a": False, "b": True, "f": False}
    # The permission ends with March: on the second of April it is none.
    found = assert_same(workspace, START + timedelta(days=2))
    assert not any(found["contactable_sms"].to_pylist())
    workspace.close()


def test_records_joined_since_are_computed_as_one_customer(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    with workspace.run("data", as_of=START) as run:
        joined = {"record_id": "d", "customer_id": "b", "run_id": run.id}
        run.replace("identities", TABLES["identities"].build([joined]))
    computed, found = compute(workspace, START)
    assert computed.changes.is_full
    deliveries.deliver([], [("d", "Product Viewed", 3, "ball")], [])
    found = assert_same(workspace, START)
    views = dict(zip(found["customer_id"].to_pylist(), found["product_views_30d"].to_pylist(), strict=True))
    assert views["b"] == 1
    assert "d" not in views
    workspace.close()


def test_moves_that_were_forgotten_since_still_tell_of_new_rows(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    for _ in range(3):
        deliveries.take_in([("b", "Product Viewed", 2, "ball")])
        compact(workspace)
    assert merge_files(workspace, most_files=1).removed > 0
    vacuum(workspace, now() + timedelta(days=1))
    found = assert_same(workspace, START)
    views = dict(zip(found["customer_id"].to_pylist(), found["product_views_30d"].to_pylist(), strict=True))
    assert views["b"] == 3
    workspace.close()


def test_a_join_that_was_undone_is_noticed_when_its_file_is_gone(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    fill(workspace)
    with workspace.run("data", as_of=START) as run:
        joined = {"record_id": "b", "customer_id": "a", "run_id": run.id}
        run.replace("identities", TABLES["identities"].build([joined]))
    compute(workspace, START)
    with workspace.run("data", as_of=START) as run:
        run.replace("identities", TABLES["identities"].build([]))
    vacuum(workspace, now() + timedelta(days=1))
    computed, found = compute(workspace, START)
    assert computed.changes.is_full
    assert found["customer_id"].to_pylist() == ["a", "b", "e"]
    workspace.close()
