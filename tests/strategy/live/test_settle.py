"""What was decided is confirmed, cancelled or ends: what is given back is exact; saying it twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import AimwellError
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_LIMITS, LIVE_PLANS, LIVE_TURNS
from aimwell.engine.permissions import go_on, halt
from aimwell.engine.store import Store
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.plan import LivePlan, close_plan
from aimwell.strategy.live.requests import Decision, Request
from aimwell.strategy.live.settle import Outcome, Settled, Settlement
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.strategy.live.world import (
    ask,
    check_books,
    keep,
    make_limit,
    make_plan,
    open_store,
    read_counters,
    read_log,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


class Clock:
    def __init__(self) -> None:
        self.seconds = 43_200.0

    def __call__(self) -> float:
        return self.seconds


def start(store: Store, clock: Clock | None = None, **more: Any) -> LiveDecider:
    limits = (make_limit("budget", [1, 1, 1], 100, of_cost=True), make_limit("stock", [1, 0, 0], 2))
    plan = make_plan(**{"limits": limits, "hold_ms": 60_000, **more})
    return LiveDecider(store, keep(store, plan).plan_id, clock=clock or Clock())


def tell(answers: list[Settled]) -> list[str]:
    """The state of each, ! where it stood before; or the code of what is wrong."""
    return [
        answer.code if isinstance(answer, AimwellError) else answer.state + "!" * answer.repeated
        for answer in answers
    ]


def test_what_was_shown_stays_used_and_what_was_not_is_given_back(store: Store) -> None:
    decider = start(store)
    decider.decide_together([ask("r1", "c1"), ask("r2", "c2"), ask("r3", "c3")])
    assert read_counters(store) == {"budget": (25, 100), "stock": (2, 2)}
    said = [Outcome("r1", True), Outcome("r2", False)]
    assert tell(decider.settle(said)) == ["confirmed", "cancelled"]
    assert tell(decider.settle(said)) == ["confirmed!", "cancelled!"]
    assert tell(LiveDecider(store, "monday").settle(said)) == ["confirmed!", "cancelled!"]
    assert read_counters(store) == {"budget": (15, 100), "stock": (1, 2)}
    check_books(store, decider.plan)
    # What was given back is there for the next.
    again = decider.decide_together([ask("r4", "c4")])[0]
    assert isinstance(again, Decision) and again.action_id == "sms"


def test_a_settled_request_is_still_answered_as_it_was_decided(store: Store) -> None:
    decider = start(store)
    first = decider.decide_together([ask("r1", "c1")])[0]
    decider.settle([Outcome("r1", False)])
    again = decider.decide_together([ask("r1", "c1")])[0]
    assert isinstance(first, Decision) and again == first._replace(repeated=True)


def test_what_was_said_cannot_be_unsaid(store: Store) -> None:
    decider = start(store)
    decider.decide_together([ask("r1", "c1"), ask("r2", "c2"), ask("no", "c3", [-1.0, -1.0, -1.0])])
    decider.settle([Outcome("r1", True), Outcome("r2", False)])
    told = tell(decider.settle([Outcome("r1", False), Outcome("r2", True)]))
    assert told == ["strategy.outcome_contradicts"] * 2
    told = tell(decider.settle([Outcome("no", True), Outcome("never", True)]))
    assert told == ["strategy.nothing_reserved", "strategy.unknown_request"]
    assert [row["state"] for row in read_log(store)] == ["confirmed", "cancelled", None]
    # Twice in one breath: the first word stands.
    decider.decide_together([ask("r3", "c3")])
    both = [Outcome("r3", True), Outcome("r3", True), Outcome("r3", False)]
    assert tell(decider.settle(both)) == ["confirmed", "confirmed!", "strategy.outcome_contradicts"]


def test_what_nobody_confirms_in_time_is_given_back(store: Store) -> None:
    clock = Clock()
    decider = start(store, clock, cap=1, cap_days=2)
    decider.decide_together([ask("r1", "c1"), ask("r2", "c2")])
    decider.settle([Outcome("r1", True)])
    clock.seconds += 30
    decider.decide_together([ask("r3", "c3")])
    clock.seconds += 31
    assert decider.release_expired() == 1
    assert decider.release_expired() == 0
    assert [row["state"] for row in read_log(store)] == ["confirmed", "expired", "reserved"]
    assert read_counters(store) == {"budget": (15, 100), "stock": (1, 2)}
    # Neither stock nor the customer's contact is taken any more; and deciding ends what is due by itself.
    clock.seconds += 60
    again = decider.decide_together([ask("r4", "c2")])[0]
    assert isinstance(again, Decision) and again.action_id == "sms"
    assert [row["state"] for row in read_log(store)] == ["confirmed", "expired", "expired", "reserved"]
    check_books(store, decider.plan)
    assert tell(decider.settle([Outcome("r3", False)])) == ["expired!"]


def test_a_late_confirmation_counts_only_where_there_is_room(store: Store) -> None:
    clock = Clock()
    decider = start(store, clock, cap=1, cap_days=2)
    decider.decide_together([ask("r1", "c1"), ask("r2", "c2")])
    clock.seconds += 61
    decider.decide_together([ask("r3", "c3"), ask("r4", "c1")])
    assert read_counters(store)["stock"] == (2, 2)
    assert tell(decider.settle([Outcome("r2", True)])) == ["strategy.reservation_expired"]
    decider.settle([Outcome("r3", False)])
    # There is stock again, but c1 has had the one contact meanwhile.
    assert tell(decider.settle([Outcome("r1", True)])) == ["strategy.reservation_expired"]
    assert tell(decider.settle([Outcome("r2", True), Outcome("r2", True)])) == ["confirmed", "confirmed!"]
    assert read_counters(store)["stock"] == (2, 2)
    check_books(store, decider.plan)
    refused = decider.decide_together([ask("r5", "c2")])[0]
    assert isinstance(refused, Decision) and refused.reason == "cap"


def test_a_closed_day_decides_nothing_but_still_hears_what_was_shown(store: Store) -> None:
    decider = start(store)
    decider.decide_together([ask("r1", "c1")])
    assert close_plan(store, "monday") and not close_plan(store, "monday")
    new, known = decider.decide_together([ask("r2", "c2"), ask("r1", "c1")])
    assert isinstance(new, AimwellError) and new.code == "strategy.live_plan_closed"
    assert isinstance(known, Decision) and known.repeated
    assert tell(decider.settle([Outcome("r1", True)])) == ["confirmed"]
    assert len(check_books(store, decider.plan)) == 1


def test_while_everything_is_halted_nothing_is_decided(store: Store) -> None:
    decider = start(store)
    decider.decide_together([ask("r1", "c1")])
    with store.begin() as connection:
        assert halt(connection, "ann")
    new, known = decider.decide_together([ask("r2", "c2"), ask("r1", "c1")])
    assert isinstance(new, AimwellError) and new.code == "strategy.live_halted"
    assert isinstance(known, Decision) and known.repeated
    with store.begin() as connection:
        assert go_on(connection)
    assert isinstance(decider.decide_together([ask("r2", "c2")])[0], Decision)


def test_another_process_learns_what_was_given_back(store: Store) -> None:
    decider = start(store, cap=1, cap_days=2)
    other = LiveDecider(store, "monday", clock=Clock())
    decider.decide_together([ask("r1", "c1")])
    refused = other.decide_together([ask("r2", "c1")])[0]
    assert isinstance(refused, Decision) and refused.reason == "cap"
    other.settle([Outcome("r1", False)])
    for one, request in ((decider, "r3"), (LiveDecider(store, "monday", clock=Clock()), "r4")):
        answer = one.decide_together([ask(request, "c1")])[0]
        assert isinstance(answer, Decision)
        assert answer.reason == ("chosen" if request == "r3" else "cap")


def test_a_request_of_another_plan_is_settled_there(store: Store) -> None:
    decider = start(store)
    decider.decide_together([ask("r1", "c1")])
    keep(store, make_plan("other"))
    answer = LiveDecider(store, "other").settle([Outcome("r1", True)])[0]
    assert isinstance(answer, AimwellError) and answer.code == "strategy.other_live_plan"


def test_an_erased_decision_cannot_be_settled(store: Store) -> None:
    decider = start(store)
    decider.decide_together([ask("r1", "c1")])
    with store.begin() as connection:
        connection.execute(sa.delete(LIVE_DECISIONS))
    assert tell(decider.settle([Outcome("r1", True)])) == ["strategy.decision_erased"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(tmp_path_factory.mktemp("shared")) as store:
        yield store


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "show", "drop", "wait"]), st.integers(0, 9)), max_size=40
)


@settings(max_examples=40)
@given(STEPS, st.integers(1, 3))
def test_whatever_happens_the_books_are_right_and_no_limit_is_broken(
    shared: Store, steps: list[tuple[str, int]], cap: int
) -> None:
    clear(shared)
    clock = Clock()
    plan = make_plan(
        limits=(make_limit("budget", [1, 1, 1], 30, of_cost=True), make_limit("stock", [1, 0, 0], 2)),
        hold_ms=60_000, cap=cap, cap_days=2,
    )  # fmt: skip
    keep(shared, plan)
    deciders = [LiveDecider(shared, plan.plan_id, clock=clock) for _ in range(2)]
    for place, (step, number) in enumerate(steps):
        decider = deciders[place % 2]
        if step == "ask":
            decider.decide_together([ask(f"r{place}", f"c{number % 4}")])
        elif step == "wait":
            clock.seconds += 7 * number
        else:
            decider.settle([Outcome(f"r{place - number}", step == "show")])
        check_step(shared, plan)


def clear(store: Store) -> None:
    with store.begin() as connection:
        for table in (LIVE_DECISIONS, LIVE_LIMITS, LIVE_PLANS, LIVE_TURNS):
            connection.execute(sa.delete(table))


def check_step(store: Store, plan: LivePlan) -> None:
    log = check_books(store, plan)
    held = [row["customer_id"] for row in log if row["state"] in ("reserved", "confirmed")]
    assert not held or np.unique(held, return_counts=True)[1].max() <= plan.cap


def test_a_settlement_says_what_stands(store: Store) -> None:
    decider = start(store)
    decider.decide_together([ask("r1", "c1")])
    assert decider.settle([Outcome("r1", True)]) == [Settlement("r1", "c1", "sms", "confirmed")]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Both databases, one after the other."""
    if request.param == "sqlite":
        with open_store(tmp_path_factory.mktemp("either")) as store:
            yield store
        return
    server: Server = request.getfixturevalue("postgres")
    server.run("DROP DATABASE IF EXISTS settling", "CREATE DATABASE settling")
    store = Store(server.address("settling"))
    store.migrate()
    yield store
    store.close()


# Two that ended before anybody spoke, two that wait, one without an action, one of another plan, one whose customer was
# erased, one that nobody asked.
EARLY, LATE, NOTHING = ("it's", "a,b],["), ('with "quotes"', "准星 \\ 100%"), "nothing"
OF_OTHER, ERASED, NEVER = "of another plan", ":places", "never"
SAID = st.lists(
    st.builds(
        Outcome, st.sampled_from([*EARLY, *LATE, NOTHING, OF_OTHER, ERASED, NEVER]), st.booleans()
    ),
    max_size=14,
)  # fmt: skip


def have_day(store: Store) -> LiveDecider:
    """A day on which there is something of everything, and too little stock for all who come late."""
    clear(store)
    clock = Clock()
    decider = start(store, clock, cap=1, cap_days=2)
    decider.decide_together([ask(name, f"c {name}") for name in EARLY])
    clock.seconds += 61
    decider.release_expired()
    requests: list[Request] = [ask(LATE[0], f"c {EARLY[1]}"), ask(LATE[1], LATE[1]), ask(ERASED, ERASED)]
    decider.decide_together([*requests, ask(NOTHING, "idle", [-1.0, -1.0, -1.0])])
    keep(store, make_plan("other"))
    LiveDecider(store, "other", clock=clock).decide_together([ask(OF_OTHER, "else")])
    with store.begin() as connection:
        connection.execute(sa.delete(LIVE_DECISIONS).where(LIVE_DECISIONS.c.request_id == ERASED))
    return decider


def read_all(store: Store, answers: Sequence[Settled]) -> tuple[list[Any], list[str | None], dict[str, Any]]:
    """What was answered, and what stands then."""
    told = [
        (answer.code, dict(answer.where)) if isinstance(answer, AimwellError) else answer
        for answer in answers
    ]
    return told, [row["state"] for row in read_log(store)], read_counters(store)


@settings(max_examples=25)
@given(SAID)
def test_many_outcomes_together_end_as_they_do_one_by_one(either: Store, said: list[Outcome]) -> None:
    decider = have_day(either)
    single = read_all(either, [decider.settle([outcome])[0] for outcome in said])
    assert read_all(either, have_day(either).settle(said)) == single


def test_everything_that_can_be_said_is_answered_in_its_order(either: Store) -> None:
    said = [
        Outcome(name, True)
        for name in (NEVER, LATE[1], ERASED, LATE[1], EARLY[1], OF_OTHER, NOTHING, EARLY[0])
    ]
    assert tell(have_day(either).settle([*said, Outcome(LATE[1], False)])) == [
        "strategy.unknown_request",
        "confirmed",
        "strategy.decision_erased",
        "confirmed!",
        "strategy.reservation_expired",
        "strategy.other_live_plan",
        "strategy.nothing_reserved",
        "strategy.reservation_expired",
        "strategy.outcome_contradicts",
    ]
    assert have_day(either).settle([]) == []


def test_however_many_outcomes_the_log_is_asked_once(store: Store) -> None:
    decider = start(store)
    decider.decide_together([ask(f"r{place}", f"c{place}") for place in range(40)])
    asked: list[str] = []
    with store.begin() as connection:
        connection.connection.driver_connection.set_trace_callback(asked.append)  # type: ignore[union-attr]
    decider.settle([Outcome(f"r{place}", place % 2 == 0) for place in range(40)])
    assert sum("SELECT" in text and "live_decisions" in text for text in asked) == 1
    assert sum(text.startswith("UPDATE live_decisions") for text in asked) > 1
