"""A preview in memory: the same customers as the SQL finds, and what is said of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from aimwell.analysis.bitmaps import SegmentBitmaps
from aimwell.analysis.preview import Previewer, Turns
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.segments import list_rules, load_segments
from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput
from aimwell.core.tables import TABLES
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.published import publish
from aimwell.engine.rule import Rule
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.workspace import Reader
from tests.analysis.shop import AS_OF, load_shop, make_workspace
from tests.conformance.world import AS_OF as WORLD_DAY
from tests.conformance.world import build_world
from tests.conformance.world import make_workspace as make_world
from tests.engine.rule_world import LINKED, TYPES, World, decide, draw_segments, draw_world
from tests.engine.scratch import Scratch


class ScratchReader(Reader):
    """What a previewer needs of a reader, over tables in memory."""

    def __init__(self, scratch: Scratch) -> None:
        self.query = scratch.query  # type: ignore[method-assign]
        self.execute = scratch.connection.execute  # type: ignore[method-assign,assignment]
        self.register = scratch.connection.register  # type: ignore[method-assign,assignment]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LINKED, draw_segments(), draw_world())
def test_memory_and_plain_python_agree_on_every_rule(
    rule: Rule, segments: dict[str, Rule], world: World
) -> None:
    scratch = world.open()
    for name in ("segments", "segment_members"):
        scratch.connection.register(name, TABLES[name].build([]))
    previewer = Previewer(
        ScratchReader(scratch), TYPES, as_of=AS_OF, segments=segments, bitmaps=SegmentBitmaps(None, {})
    )
    expected = [decide(rule, world, number, segments) for number in range(len(world.tags))]
    assert previewer.decide(rule).tolist() == expected
    found = previewer.preview(rule)
    assert (found["size"], found["customers"]) == (sum(expected), len(expected))


@pytest.fixture
def previewer(tmp_path: Path) -> Iterator[Previewer]:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    describe(workspace, as_of=AS_OF)
    with workspace.read() as reader:
        types = read_rule_types(reader)
        rules = list_rules(load_segments(workspace.store, types)[0])
        yield Previewer(reader, types, as_of=AS_OF, segments=rules)


def test_what_is_said_of_the_members(previewer: Previewer) -> None:
    found = previewer.preview(parse_rule("orders_total >= 1"))
    assert (found["size"], found["customers"], found["examples"]) == (2, 3, ["ann", "ben"])
    assert found["share"] == pytest.approx(2 / 3)
    assert found["revenue_share"] == 1.0
    assert [(row["value"], row["size"]) for row in found["breakdown"]["lifecycle_stage"]] == [("active", 2)]
    assert found["breakdown"]["lifecycle_stage"][0]["title"]["zh"] != "active"
    assert [(row["value"], row["size"]) for row in found["breakdown"]["region"]] == [("North", 1)]
    # Ann has an address and said yes; Ben said yes and has none.
    assert (found["channels"]["email"], found["channels"]["sms"]) == (1, 0)
    overlap = {row["segment"]: row["size"] for row in found["overlap"]}
    assert (overlap["active_customers"], overlap["one_time_buyers"]) == (2, 1)
    assert "prospects" not in overlap


RULES = (
    "did 'Product Viewed' in 30 days",
    "did 'Product Viewed' 2 times in 366 days where channel = 'web'",
    "did 'Product Viewed' where channel != 'web'",
    "did 'Product Viewed' where product_id = 'p1'",
    "did 'Product Viewed' where product_id != 'nowhere'",
    "did 'Product Viewed' in 366 days where occurred_on <= '2024-02-15'",
    "did 'Product Viewed' where campaign_id = 'spring'",
    "did 'Product Viewed' where category = '茶'",
    "not did 'App Opened' in 7 days",
    "bought 2 times in 90 days",
    "recency_days > 30 and lifecycle_stage is not empty",
)


def test_the_published_file_and_what_came_after_it_give_what_the_warehouse_gives(tmp_path: Path) -> None:
    """Joined customers and events that are not in the file are counted with it, words it has not are found nowhere."""
    with closing(make_world(tmp_path / "w", "duckdb")) as workspace:
        describe(workspace, as_of=WORLD_DAY)
        publish(workspace)
        late = build_world()["events"].slice(0, 60)
        names = pa.array([f"late{number}" for number in range(late.num_rows)])
        for later in (False, True):
            if later:
                with workspace.run("data", as_of=WORLD_DAY) as run:
                    run.append("events", late.set_column(0, "event_id", names))
            with workspace.read() as reader:
                assert reader.coded is not None
                assert (reader.coded.has_tags, reader.coded.has_extra) == (True, later)
                types = read_rule_types(reader)
                previewer = Previewer(reader, types, as_of=WORLD_DAY)
                previewer.prefetch().join()
                for text in RULES:
                    query = compile_rules({"member": parse_rule(text)}, types, as_of=WORLD_DAY)
                    expected = reader.query(query.sql, query.parameters)
                    assert previewer.customers.to_pylist() == expected["customer_id"].to_pylist()
                    assert previewer.decide(parse_rule(text)).tolist() == expected["member"].to_pylist(), text


def test_columns_are_fetched_before_anybody_asks(previewer: Previewer) -> None:
    previewer.prefetch().join()
    assert previewer.preview(parse_rule("orders_total >= 1"))["size"] == 2
    previewer.close()


def test_nobody_is_a_preview_too(previewer: Previewer) -> None:
    found = previewer.preview(parse_rule("nobody"))
    assert (found["size"], found["share"], found["revenue_share"], found["examples"]) == (0, 0.0, 0.0, [])


def test_a_rule_that_cannot_be_is_refused(previewer: Previewer) -> None:
    with pytest.raises(BadInput):
        previewer.preview(parse_rule("recency = 3"))
    with pytest.raises(BadInput):
        previewer.preview(parse_rule("in segment nowhere"))


def test_many_people_may_try_at_once(previewer: Previewer) -> None:
    rules = [
        "recency_days > 3",
        "did 'Coupon Redeemed' in 90 days",
        "in segment best_customers",
        "bought",
    ] * 4
    sizes: dict[int, int] = {}

    def ask(number: int) -> None:
        sizes[number] = previewer.preview(parse_rule(rules[number]))["size"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(rules))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sizes[number] for number in range(4)] == [1, 1, 1, 2]
    assert all(sizes[number] == sizes[number % 4] for number in range(len(rules)))


@pytest.mark.parametrize("places", [1, 2])
def test_turns_are_taken_in_the_order_of_coming(places: int) -> None:
    turns, inside, most, order = Turns(places), 0, 0, []
    lock, leave = threading.Lock(), threading.Event()

    def work(number: int) -> None:
        nonlocal inside, most
        with turns.take():
            with lock:
                inside += 1
                most = max(most, inside)
                order.append(number)
            leave.wait()
            with lock:
                inside -= 1

    threads = []
    for number in range(8):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        # Until this one is in, or stands in the queue.
        while len(order) + turns.waiting <= number:
            time.sleep(0.001)
    leave.set()
    for thread in threads:
        thread.join()
    assert most == places
    assert sorted(order) == list(range(8))
    if places == 1:
        # Of two who are let in at once, either may be the first to say so.
        assert order == list(range(8))
    assert turns.waiting == 0
