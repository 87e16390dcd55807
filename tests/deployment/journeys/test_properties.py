"""Any graph, any order of events, any statement at which a worker dies: the same end as without dying."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.deployment.journeys.graph import (
    Action,
    Branch,
    Case,
    EventEntry,
    EventIs,
    Exit,
    ExitRule,
    Goal,
    Journey,
    MessageCap,
    Node,
    PropertyIs,
    Reentry,
    Span,
    Split,
    Wait,
    WaitEvent,
    WaitUntil,
    Way,
    list_targets,
)
from aimwell.deployment.journeys.graph_check import check_journey, holds_time
from aimwell.deployment.journeys.graph_json import journey_from_json, journey_to_json
from aimwell.engine.journey_tables import JOURNEYS
from aimwell.engine.store import Store
from tests.deployment.journeys.world import DAY, HOUR, START, World

EVENTS = ("Signed Up", "Answered", "Order Completed", "Account Closed")
CUSTOMERS = ("ann", "bob", "cid", "dan")


@st.composite
def draw_node(draw: st.DrawFn, number: int, count: int) -> Node:
    """A node: what passes at once leads on only, a wait leads anywhere."""
    anywhere = st.one_of(st.none(), st.sampled_from([f"n{n}" for n in range(count)]))
    later = st.one_of(
        st.none(),
        *([st.sampled_from([f"n{n}" for n in range(number + 1, count)])] if number + 1 < count else []),
    )
    kind = draw(st.integers(0, 7))
    share = draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    match kind:
        case 0:
            return Wait(Span(draw(st.integers(0, 2)), draw(st.integers(1, 30))), draw(anywhere))
        case 1:
            return WaitUntil(draw(st.sampled_from(["09:00", "23:30"])), (), draw(anywhere))
        case 2:
            event = EventIs("Answered", draw(st.sampled_from([(), (PropertyIs("score", ">", 5),)])))
            return WaitEvent(event, Span(hours=draw(st.integers(1, 50))), draw(anywhere), draw(anywhere))
        case 3:
            return Branch((Case(draw(later), where=(PropertyIs("score", "<=", 5),)),), draw(later))
        case 4:
            return Split((Way(draw(later), share), Way(draw(later), 1 - share)))
        case 5 | 6:
            return Action(draw(st.sampled_from(["email", "sms"])), next=draw(later))
        case _:
            return Goal() if draw(st.booleans()) else Exit()


@st.composite
def draw_journey(draw: st.DrawFn) -> Journey:
    """Any journey that passes the check; nodes that nobody reaches are left out."""
    count = draw(st.integers(1, 7))
    nodes = {f"n{number}": draw(draw_node(number, count)) for number in range(count)}
    reached, waiting = set(), ["n0"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [target for _, target in list_targets(nodes[name]) if target]
    return Journey(
        name="any",
        title="Any",
        entries=(EventEntry("n0", EventIs("Signed Up")),),
        nodes=tuple((name, node) for name, node in nodes.items() if name in reached),
        goal=draw(st.sampled_from([None, EventIs("Order Completed")])),
        exits=draw(st.sampled_from([(), (ExitRule(EventIs("Account Closed")),)])),
        reentry=draw(st.sampled_from([Reentry(), Reentry("always", at_once=2), Reentry("after", days=1)])),
        holdout=draw(st.sampled_from([0.0, 0.4])),
        cap=draw(st.sampled_from([None, MessageCap(2, 3)])),
    )


@dataclass(frozen=True)
class Deed:
    """What happens next: some events, and time passes."""

    events: tuple[tuple[str, str, dict[str, Any]], ...]
    hours: int


DEEDS = st.lists(
    st.builds(
        Deed,
        st.lists(
            st.tuples(
                st.sampled_from(CUSTOMERS),
                st.sampled_from(EVENTS),
                st.fixed_dictionaries({"score": st.integers(0, 9)}),
            ),
            max_size=4,
        ).map(tuple),
        st.integers(-2, 40),
    ),
    min_size=1,
    max_size=8,
)


class Died(Exception):
    """The worker is gone."""


class Deaths:
    """While armed, lets every n-th statement of a store fail, as long as there are numbers left."""

    def __init__(self, store: Store, numbers: Sequence[int]) -> None:
        self.numbers = list(numbers)
        self.left = 0
        self.armed = False
        sa.event.listen(store.engine, "before_cursor_execute", self._count)

    def _count(self, *_: Any) -> None:
        if not self.armed or not self.numbers:
            return
        self.left += 1
        if self.left >= self.numbers[-1]:
            self.numbers.pop()
            self.left = 0
            raise Died


@cache
def make_empty() -> bytes:
    """An empty store, as bytes: quicker than making its tables each time."""
    store = Store("sqlite://")
    store.migrate()
    with store.begin() as connection:
        packed: bytes = connection.connection.driver_connection.serialize()  # type: ignore[union-attr]
    store.close()
    return packed


def open_store() -> Store:
    """A store in memory."""
    store = Store("sqlite://")
    raw = store.engine.raw_connection()
    raw.driver_connection.deserialize(make_empty())  # type: ignore[union-attr]
    raw.close()
    return store


def play(journey: Journey, deeds: Sequence[Deed], deaths: Sequence[int]) -> tuple[Any, ...]:
    """All rows at the end; after each death a new advancer goes on."""
    store = open_store()
    world = World(store)
    world.advancer.batch = 3
    world.start(journey)
    with store.begin() as connection:
        connection.execute(sa.update(JOURNEYS).values(salt="the same"))
    now_ms = START
    dying = Deaths(store, deaths)
    for deed in deeds:
        now_ms += deed.hours * HOUR
        world.post(*deed.events, at_ms=now_ms)
        step(world, dying, now_ms)
    for day in range(1, 5):
        step(world, dying, now_ms + day * DAY)
    found = (world.rows(), world.visits(), world.deliveries())
    check_sums(*found)
    store.close()
    return found


def step(world: World, dying: Deaths, now_ms: int) -> None:
    """Until it is done, whoever dies on the way."""
    while True:
        dying.armed = True
        try:
            world.advancer.step(now_ms)
            return
        except Died:
            world.advancer = world.open()
            world.advancer.batch = 3
        finally:
            dying.armed = False


def check_sums(
    rows: list[dict[str, Any]], visits: list[dict[str, Any]], deliveries: list[dict[str, Any]]
) -> None:
    """Everybody is at one place; every visit to an action has its one message, and nothing else has any."""
    steps: dict[int, list[int]] = {row["enrolment_id"]: [] for row in rows}
    for visit in visits:
        steps[visit["enrolment_id"]].append(visit["step"])
    for row in rows:
        assert steps[row["enrolment_id"]] == list(range(1, row["step"] + 1))
        assert (row["state"] == "ended") == (row["outcome"] is not None) == (row["due_ms"] is None)
        assert (
            row["step"] == 0
            or row["state"] != "waiting"
            or row["node"]
            == next(
                visit["node"]
                for visit in visits
                if (visit["enrolment_id"], visit["step"]) == (row["enrolment_id"], row["step"])
            )
        )
    asked = Counter(
        f"{visit['node']}@{visit['enrolment_id']}.{visit['step']}"
        for visit in visits
        if visit["result"] == "queued"
    )
    assert asked == Counter(row["action_id"] for row in deliveries)
    held = {row["customer_id"] for row in rows if row["arm"] == "holdout"}
    assert held.isdisjoint(row["customer_id"] for row in deliveries)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(journey=draw_journey(), deeds=DEEDS, deaths=st.lists(st.integers(1, 25), max_size=12))
def test_whoever_dies_wherever_the_end_is_the_same(
    journey: Journey, deeds: list[Deed], deaths: list[int]
) -> None:
    check_journey(journey)
    assert play(journey, deeds, deaths) == play(journey, deeds, ())


@settings(max_examples=100, deadline=None)
@given(journey=draw_journey())
def test_what_is_written_as_json_is_read_back_the_same(journey: Journey) -> None:
    assert journey_from_json(journey_to_json(journey)) == journey


@given(journey=draw_journey())
def test_every_circle_holds_time(journey: Journey) -> None:
    nodes = dict(journey.nodes)
    for name, node in nodes.items():
        if not holds_time(node):
            later = [target for _, target in list_targets(node) if target]
            assert all(int(target[1:]) > int(name[1:]) for target in later)
