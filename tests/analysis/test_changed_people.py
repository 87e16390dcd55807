"""New customers, patches, days and erased people, as they come in life: the same tags as computing everything."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aimwell.analysis import tags
from aimwell.core.tables import TABLES
from aimwell.data.erasure import erase_person
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import make_workspace
from tests.analysis.test_tags_incremental import (
    LINES,
    SEEN,
    SIGNALS,
    START,
    assert_same,
    compute,
    fill,
    list_overlays,
    list_patches,
    list_plain,
)
from tests.analysis.test_tags_incremental import (
    patch_always as patch_always,  # applies to this module, too
)


class People:
    """Customers as files tell of them, each file with all of them; and what they say."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._rows: dict[str, dict[str, Any]] = {}
        self._said = 0

    def tell(self, *people: tuple[str, str | None, str | None]) -> None:
        """``people``: name, e-mail address and region, which take the place of what was told before."""
        for name, email, region in people:
            self._rows[name] = {"customer_id": name, "email": email, "region": region, "source": "t"}
        with self._workspace.run("data", as_of=START) as run:
            run.replace(
                "customers", TABLES["customers"].build([self._rows[name] for name in sorted(self._rows)])
            )

    def say(self, *words: tuple[str, str, bool, int, int | None]) -> None:
        """``words``: name, channel, whether allowed, since how many days after the start, and for how many days."""
        rows = []
        for name, channel, allowed, since, lasts in words:
            self._said += 1
            at = datetime(2024, 3, 31, tzinfo=UTC) + timedelta(days=since, microseconds=self._said)
            until = None if lasts is None else at + timedelta(days=lasts)
            rows.append({"customer_id": name, "channel": channel, "purpose": "marketing", "allowed": allowed})
            rows[-1] |= {"since": at, "until": until, "source": "t"}
        with self._workspace.run("data", as_of=START) as run:
            run.append("consents", TABLES["consents"].build(rows))

    def erase(self, name: str) -> None:
        """Erase a person who is there."""
        self._rows.pop(name, None)
        erase_person(self._workspace, name, dry_run=False)
        with self._workspace.run("look", as_of=START) as run:
            for path in run.list_files("tags"):
                assert name not in pq.read_table(run.warehouse_folder / path)["customer_id"].to_pylist()


NAMES = st.sampled_from("abcdefgh")
TOLD = st.tuples(
    NAMES, st.sampled_from([None, "x@x.cn", "y@x.cn"]), st.sampled_from(["north", "south", None])
)
WORDS = st.tuples(
    NAMES, st.sampled_from(["email", "sms"]), st.booleans(), st.integers(-3, 9), st.sampled_from([None, 1, 5])
)
DEED = st.one_of(
    st.tuples(st.just("rows"), LINES, SEEN, SIGNALS),
    st.tuples(st.just("tell"), st.lists(TOLD, min_size=1, max_size=3)),
    st.tuples(st.just("say"), st.lists(WORDS, min_size=1, max_size=3)),
    st.tuples(st.just("erase"), st.sampled_from("bcdef")),
)
LIFE = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 1, 3, 9]), st.lists(DEED, max_size=3)), min_size=2, max_size=6
)


LIFE_OF_ONE_WEEK = [
    (0, [("rows", [("b", 1, 3, "milk", 400, 9)], [("a", "Product Viewed", 3, "ball")], [])]),
    (0, [("tell", [("f", "x@x.cn", "north")]), ("rows", [("g", 1, 1, "milk", 900, 9)], [], [])]),
    (1, [("tell", [("a", "y@x.cn", "south")]), ("say", [("f", "email", True, 0, 1)])]),
    (0, [("rows", [("f", 2, 0, "ball", 1900, 9)], [("h", "Product Viewed", -1, "ball")], [])]),
    (1, []),
    (0, [("erase", "f")]),
    (1, [("rows", [("b", 3, 1, "milk", 400, 9)], [], [])]),
    (1, [("erase", "e"), ("tell", [("h", None, "south")])]),
]


def test_a_week_as_it_is_in_life_is_built_on_the_days_before() -> None:
    assert live(LIFE_OF_ONE_WEEK, is_built=True) == len(LIFE_OF_ONE_WEEK)


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate],
)
@given(LIFE)
def test_days_as_they_are_in_life_give_the_same_as_everything(life: list[Any]) -> None:
    # A first region or a first survey is data that more tags can be had from: then nothing is built on.
    assert live(life, is_built=False) == len(life)


def live(life: list[Any], *, is_built: bool) -> int:
    """Do what each day brings, and compare what a refresh finds with computing everything; how many were compared.

    ``is_built``: a refresh must build on what stood there, but for those after an erasure.
    """
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder))
        deliveries, people, as_of = fill(workspace), People(workspace), START
        people.tell(*[(name, f"{name}@x.cn", "north") for name in "abe"])
        people.say(("a", "email", True, -9, None), ("b", "sms", True, -9, None))
        compute(workspace, as_of)
        gone: set[str] = set()
        compared = 0
        for days, deeds in life:
            as_of += timedelta(days=days)
            built = is_built
            for deed, *what in deeds:
                if deed == "rows":
                    deliveries.deliver(*([row for row in rows if row[0] not in gone] for rows in what))
                elif deed == "tell":
                    people.tell(*[row for row in what[0] if row[0] not in gone])
                elif deed == "say":
                    people.say(*[row for row in what[0] if row[0] not in gone])
                elif _is_there(workspace, what[0]):
                    people.erase(what[0])
                    gone.add(what[0])
                    # Rows that were there are gone from order lines or events: nothing to build on.
                    built = False
            found = assert_same(workspace, as_of, built=built)
            assert not gone & set(found["customer_id"].to_pylist())
            compared += 1
        workspace.close()
    return compared


def _is_there(workspace: Workspace, name: str) -> bool:
    with workspace.read() as reader:
        return name in reader.query("SELECT customer_id FROM tags")["customer_id"].to_pylist()


def test_new_customers_and_patches_leave_the_rows_of_all_others_where_they_are(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    deliveries, people = fill(workspace), People(workspace)
    people.tell(*[(name, f"{name}@x.cn", "north") for name in "abe"])
    compute(workspace, START)
    base = list_plain(workspace)
    deliveries.deliver([], [("b", "Product Viewed", 3, "ball")], [])
    assert_same(workspace, START)
    people.tell(("f", "f@x.cn", "south"), ("a", "new@x.cn", "south"))
    deliveries.deliver([("g", 1, 0, "milk", 900, 9)], [("f", "Product Viewed", 0, "ball")], [])
    found = assert_same(workspace, START + timedelta(days=1))
    assert found["customer_id"].to_pylist() == ["a", "b", "e", "f", "g"]
    assert found["attribute_region"].to_pylist() == ["south", "north", "north", "south", None]
    assert (list_plain(workspace), len(list_patches(workspace))) == (base, 1)
    assert _list_patched(workspace) == ["a", "b", "f", "g"]
    people.tell(("h", "h@x.cn", "south"))
    assert_same(workspace, START + timedelta(days=1))
    assert _list_patched(workspace) == ["a", "b", "f", "g", "h"]
    workspace.close()


def test_a_patch_that_has_grown_too_large_becomes_rows_among_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "_MOST_PATCHED", 0.4)
    workspace = make_workspace(tmp_path)
    deliveries = fill(workspace)
    compute(workspace, START)
    base = list_plain(workspace)
    deliveries.deliver([], [("b", "Product Viewed", 3, "ball")], [])
    assert_same(workspace, START + timedelta(days=1))
    assert (list_plain(workspace), len(list_patches(workspace))) == (base, 1)
    deliveries.deliver([], [("a", "Product Viewed", 0, "ball")], [])
    assert_same(workspace, START + timedelta(days=2))
    assert list_patches(workspace) == list_overlays(workspace) == []
    assert not set(base) & set(list_plain(workspace))
    workspace.close()


def _list_patched(workspace: Workspace) -> list[str]:
    (path,) = list_patches(workspace)
    names: list[str] = pq.read_table(workspace.warehouse_folder / path)["customer_id"].to_pylist()
    return sorted(names)
