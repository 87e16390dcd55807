"""One live decision: what it picks, what forbids it, what it takes, and that asking twice changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import AimwellError, BadInput, Conflict
from aimwell.core.seeds import draw_uniforms
from aimwell.data.erasure_store import list_person_tables
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_LIMITS, LIVE_PLANS, LIVE_TURNS
from aimwell.engine.permissions import ConsentState, remember_consents, suppress_customers
from aimwell.engine.store import Store
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.plan import LivePlan
from aimwell.strategy.live.requests import REASONS, Answer, Decision, Request
from aimwell.strategy.problem import Sense
from tests.strategy.live.world import (
    DAY,
    DAY_MS,
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


def decided(answers: list[Answer]) -> list[Decision]:
    assert all(isinstance(answer, Decision) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, Decision)]


def start(store: Store, plan: LivePlan) -> LiveDecider:
    return LiveDecider(store, keep(store, plan).plan_id, clock=lambda: DAY_MS / 2000)


def test_the_best_action_that_fits_is_taken_and_logged(store: Store) -> None:
    stock = make_limit("stock", [1, 0, 0], 1)
    decider = start(store, make_plan(limits=(stock, make_limit("budget", [1, 1, 1], 16, of_cost=True))))
    answers = decided(decider.decide_together([ask(f"r{n}", f"c{n}") for n in range(4)]))
    assert [answer.action_id for answer in answers] == ["sms", "mail", "banner", None]
    assert [answer.reason for answer in answers] == ["chosen", "chosen", "chosen", "limit"]
    assert [answer.expected_profit for answer in answers] == [3.0, 2.0, 1.0, 0.0]
    assert read_counters(store) == {"stock": (1, 1), "budget": (16, 16)}
    assert [row["cost_cents"] for row in check_books(store, decider.plan)] == [10, 5, 1, 0]


def test_a_price_keeps_what_is_scarce_for_whom_it_is_worth_more(store: Store) -> None:
    stock = make_limit("stock", [1, 0, 0], 100, price=2.5)
    decider = start(store, make_plan(limits=(stock,)))
    one, other = decided(decider.decide_together([ask("r1", "c1"), ask("r2", "c2", [9.0, 2.0, 1.0])]))
    assert (one.action_id, other.action_id) == ("mail", "sms")
    nothing = decider.decide_together([ask("r3", "c3", [2.0, -1.0, -np.inf])])
    assert decided(nothing)[0].reason == "not_worth"


def test_asked_again_it_answers_the_same_and_takes_nothing(store: Store) -> None:
    plan = make_plan(limits=(make_limit("budget", [1, 1, 1], 1000, of_cost=True),))
    decider = start(store, plan)
    first, twin = decided(decider.decide_together([ask("r1", "c1"), ask("r1", "c1", [0.0, 0.0, 9.0])]))
    assert twin == first._replace(repeated=True)
    restarted = LiveDecider(store, "monday")
    for again in (decider, restarted):
        assert decided(again.decide_together([ask("r1", "c1", [0.0, 9.0, 0.0])])) == [twin]
    assert read_counters(store)["budget"][0] == 10
    assert len(check_books(store, plan)) == 1


def test_a_request_id_belongs_to_one_customer(store: Store) -> None:
    decider = start(store, make_plan())
    same = decider.decide_together([ask("r1", "c1"), ask("r1", "c2")])
    later = decider.decide_together([ask("r1", "c3"), ask("r2", "c3")])
    codes = [answer.code for answer in (*same, *later) if isinstance(answer, AimwellError)]
    assert codes == ["strategy.request_reused"] * 2
    assert [row["request_id"] for row in read_log(store)] == ["r1", "r2"]


def test_who_was_erased_is_not_decided_again_under_the_same_id(store: Store) -> None:
    decider = start(store, make_plan())
    decider.decide_together([ask("r1", "c1")])
    with store.begin() as connection:
        connection.execute(sa.delete(LIVE_DECISIONS).where(LIVE_DECISIONS.c.customer_id == "c1"))
    answer = decider.decide_together([ask("r1", "c1")])[0]
    assert isinstance(answer, Conflict) and answer.code == "strategy.decision_erased"


def test_an_erasure_finds_live_decisions() -> None:
    assert (LIVE_DECISIONS, LIVE_DECISIONS.c.customer_id) in list_person_tables()


def test_a_request_that_cannot_be_read_fails_alone(store: Store) -> None:
    decider = start(store, make_plan(limits=(make_limit("stock", [1, 1, 1], 9),)))
    bad = [
        ask("nan", "c1", [np.nan, 1.0, 1.0]),
        ask("infinite", "c1", [np.inf, 1.0, 1.0]),
        ask("short", "c1", [1.0, 1.0]),
        ask("negative", "c1", costs=[-1, 0, 0]),
        ask("huge", "c1", costs=[1 << 60, 0, 0]),
        ask("elsewhere", "c1", segment=1),
        ask("nowhere", "c1", segment=-1),
        ask("", "c1"),
        ask("x" * 129, "c1"),
        ("c1", ask("whole", "c1")[1]._replace(costs=np.array([0.5, 1.0, 1.0]))),
    ]
    answers = decider.decide_together([ask("good", "c0"), *bad, ask("fine", "c0")])
    assert [type(answer) for answer in answers] == [Decision, *[BadInput] * len(bad), Decision]
    assert len(check_books(store, decider.plan)) == 2


def test_outside_its_day_nothing_is_decided_but_what_was_is_told(store: Store) -> None:
    decider = start(store, make_plan())
    decider.decide_together([ask("r1", "c1", at_ms=DAY_MS - 1)])
    early, late, again = decider.decide_together(
        [ask("r2", "c1", at_ms=-1), ask("r3", "c1", at_ms=DAY_MS), ask("r1", "c1", at_ms=DAY_MS)]
    )
    for answer in (early, late):
        assert isinstance(answer, Conflict) and answer.code == "strategy.live_plan_over"
    assert isinstance(again, Decision) and again.repeated
    tomorrow = start(
        store, make_plan("tuesday", day=DAY + timedelta(days=1), starts_ms=DAY_MS, ends_ms=2 * DAY_MS)
    )
    assert decided(tomorrow.decide_together([ask("r1", "c1", at_ms=DAY_MS)])) == [again]


def test_the_cap_counts_contacts_of_the_day_of_other_days_and_of_the_ledger(store: Store) -> None:
    decider = start(store, make_plan(cap=2, cap_days=3))
    with store.begin() as connection:
        connection.execute(
            sa.insert(DELIVERIES), [make_delivery("d1", "sent"), make_delivery("d2", "failed")]
        )
    same = decided(decider.decide_together([ask(f"r{n}", "c1") for n in range(3)]))
    assert [answer.reason for answer in same] == ["chosen", "chosen", "cap"]
    posted = decided(decider.decide_together([ask(f"p{n}", "posted") for n in range(2)]))
    assert [answer.reason for answer in posted] == ["chosen", "cap"]
    for days, reason in ((2, "cap"), (3, "chosen")):
        shift = DAY_MS * days
        later = make_plan(
            f"+{days}",
            day=DAY + timedelta(days=days),
            starts_ms=shift,
            ends_ms=shift + DAY_MS,
            cap=2,
            cap_days=3,
        )
        answer = decided(start(store, later).decide_together([ask(f"later{days}", "c1", at_ms=shift)]))[0]
        assert answer.reason == reason


def make_delivery(name: str, state: str) -> dict[str, object]:
    return {
        "delivery_id": name, "plan_id": "batch", "customer_id": "posted", "action_id": "sms", "channel": "sms",
        "contact_on": DAY - timedelta(days=1), "state": state, "reachable": True, "unit_cost_cents": 5,
    }  # fmt: skip


def test_suppression_and_consent_are_checked_when_it_is_decided(store: Store) -> None:
    decider = start(store, make_plan(channels=("sms", "email", None)))
    with store.begin() as connection:
        remember_consents(
            connection,
            [
                ConsentState("both", "sms", True, 0),
                ConsentState("both", "email", True, 0),
                ConsentState("mail", "email", True, 0),
                ConsentState("mail", "sms", False, 0),
                ConsentState("ended", "sms", True, 0, DAY_MS // 2),
            ],
        )
    suppress_customers(store, ["gone"])
    customers = ("both", "mail", "ended", "unknown", "gone")
    answers = decided(decider.decide_together([ask(who, who) for who in customers]))
    assert [answer.action_id for answer in answers] == ["sms", "mail", "banner", "banner", None]
    assert answers[-1].reason == "forbidden"
    suppress_customers(store, ["both"], channel="sms")
    assert decided(decider.decide_together([ask("again", "both")]))[0].action_id == "mail"


def test_held_out_are_the_same_people_as_in_a_plan(store: Store) -> None:
    decider = start(store, make_plan(holdout=0.3))
    customers = [f"c{n}" for n in range(300)]
    answers = decided(decider.decide_together([ask(who, who) for who in customers]))
    held = draw_uniforms("pinch:holdout", customers) < 0.3
    assert [answer.reason == "holdout" for answer in answers] == held.tolist()
    assert all((answer.action_id is None) == out for answer, out in zip(answers, held, strict=True))


def test_exploration_draws_with_the_probabilities_that_it_logs(store: Store) -> None:
    decider = start(store, make_plan(exploration=0.3, near=0.8))
    count = 6_000
    answers = decided(decider.decide_together([ask(f"r{n}", f"c{n}", [5.0, 4.0, 3.9]) for n in range(count)]))
    assert {(a.action_id, round(a.probability, 12)) for a in answers} == {("sms", 0.85), ("mail", 0.15)}
    assert {answer.choices for answer in answers} == {2}
    share = Counter(answer.action_id for answer in answers)["mail"] / count
    assert abs(share - 0.15) < 4 * np.sqrt(0.15 * 0.85 / count)
    # Inverse weights of either action estimate the same number of customers (Horvitz and Thompson 1952).
    for action in ("sms", "mail"):
        weight = sum(1 / answer.probability for answer in answers if answer.action_id == action)
        assert weight == pytest.approx(count, rel=0.12)


@st.composite
def draw_day(draw: st.DrawFn) -> tuple[LivePlan, list[Request]]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, segments = draw(st.integers(1, 30)), draw(st.integers(1, 2))
    limits = []
    for index in range(draw(st.integers(0, 3))):
        limit = make_limit(f"limit{index}", [0, 0, 0], int(random.integers(0, 40)))
        senses: list[Sense] = ["at_most", "at_most", "at_least"]
        sense, of_cost = draw(st.sampled_from(senses)), draw(st.booleans())
        table = random.integers(0, 4, (segments, 3))
        price, gain = float(random.choice([0.0, 0.3])), float(random.choice([0.0, 1.0]))
        limits.append(type(limit)(limit.name, table, limit.bound, price, gain, sense, of_cost))
    plan = make_plan(
        f"day{random.integers(1 << 62)}", limits=tuple(limits), exploration=draw(st.sampled_from([0.0, 0.5])),
        cap=draw(st.sampled_from([1, 2, 1 << 30])), day=date(2026, 1, 1) + timedelta(days=int(random.integers(3000))),
    )  # fmt: skip
    at = np.sort(random.integers(0, DAY_MS, n))
    requests = [
        ask(
            f"{plan.plan_id}:{place}", f"c{random.integers(n)}", random.integers(-2, 5, 3).astype(float).tolist(),
            random.integers(0, 6, 3).tolist(), at_ms=int(at[place]),
            segment=int(random.integers(segments)) if limits else 0,
        )
        for place in range(n)
    ]  # fmt: skip
    return plan, requests


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(tmp_path_factory.mktemp("shared")) as store:
        yield store


@settings(max_examples=60)
@given(draw_day(), st.lists(st.integers(1, 9), min_size=30, max_size=30))
def test_the_books_are_right_and_it_does_not_matter_who_waits_with_whom(
    shared: Store, day: tuple[LivePlan, list[Request]], sizes: list[int]
) -> None:
    plan, requests = day
    with shared.begin() as connection:
        for table in (LIVE_DECISIONS, LIVE_LIMITS, LIVE_PLANS, LIVE_TURNS):
            connection.execute(sa.delete(table))
    decider, answers, rest = start(shared, plan), [], list(requests)
    for size in sizes:
        answers += decided(decider.decide_together(rest[:size]))
        rest = rest[size:]
    log = check_books(shared, plan)
    assert [row["request_id"] for row in log] == [context.request_id for _, context in requests]
    acted = Counter(row["customer_id"] for row in log if row["action_id"] is not None)
    assert max(acted.values(), default=0) <= plan.cap
    with shared.begin() as connection:
        connection.execute(sa.delete(LIVE_DECISIONS))
        connection.execute(sa.delete(LIVE_TURNS))
        connection.execute(sa.update(LIVE_LIMITS).values(used=0))
    assert decided(start(shared, plan).decide_together(requests)) == answers


def test_the_database_itself_refuses_what_would_break_a_limit(store: Store) -> None:
    start(store, make_plan(limits=(make_limit("stock", [1, 1, 1], 3),)))
    with pytest.raises(sa.exc.IntegrityError), store.begin() as connection:
        connection.execute(sa.update(LIVE_LIMITS).values(used=4))


def test_every_reason_has_words() -> None:
    assert all(text.render("en") and text.render("zh") != text.render("en") for text in REASONS.values())
