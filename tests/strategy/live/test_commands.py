"""``aimwell strategy live``: a day from opening to handing over, in both languages, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aimwell.core.errors import AimwellError
from aimwell.core.text import set_language
from aimwell.engine.workspace import Workspace
from tests.strategy.live.shop import DAY, NOW_MS, PLAN, call, make_shop, read, stop_clock


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    stop_clock(monkeypatch)
    with make_shop(tmp_path) as workspace:
        yield workspace


def fail(shop: Workspace, *words: str) -> str:
    error = call(shop, *words, fails=True)
    assert isinstance(error, AimwellError), error
    return error.code


def test_a_day_from_opening_to_what_is_learnt_from_it(shop: Workspace) -> None:
    assert fail(shop, "status") == "strategy.no_live_plan"
    opened = call(shop, "open", "--budget", "9", "--hold", "60")
    assert opened["day"] == DAY.isoformat() and opened["source"] == PLAN and 0 < opened["able"] < 60
    answers = {}
    for number in range(3, 13):
        answers[f"q{number}"] = call(shop, "decide", f"c{number}", "--request", f"q{number}")
    acted = [name for name, answer in answers.items() if answer["action_id"]]
    assert len(acted) >= 3
    first = answers[acted[0]]
    assert 0 < first["probability"] <= 1 and first["confirm_until"]
    chosen = first["actions"][0]
    assert chosen["status"] == "chosen" and chosen["net"] > 0 and chosen["action_id"] == first["action_id"]
    assert {line["status"] for line in first["actions"]} >= {"chosen", "excluded"}
    assert all(line["reason"]["en"] and line["reason"]["zh"] for line in first["actions"])
    assert chosen["resources"] == pytest.approx(price_use(first, chosen))
    again = call(shop, "decide", first["customer_id"], "--request", acted[0])
    assert again["repeated"] and again["action_id"] == first["action_id"]
    assert again["probability"] == first["probability"]
    assert call(shop, "confirm", acted[0])["state"] == "confirmed"
    assert call(shop, "confirm", acted[0])["repeated"]
    assert call(shop, "cancel", acted[1])["state"] == "cancelled"
    check_status(shop, acted)
    closed = call(shop, "close")
    assert closed["state"] == "closed" and closed["handed_over"] == len(answers)
    assert fail(shop, "decide", "c20") == "strategy.live_plan_closed"
    # Said after the day was closed, and handed over by closing again: nothing twice.
    assert call(shop, "confirm", acted[2])["state"] == "confirmed"
    assert call(shop, "close")["handed_over"] == len(answers)
    check_exposures(shop, answers, acted)


def price_use(answer: dict, line: dict) -> float:  # type: ignore[type-arg]
    """What the prices say the chosen action uses: money, and one of its offer's stock."""
    prices = {row["id"]: row["price"] for row in answer["prices"]}
    offer, channel = line["action_id"].split(":")
    minutes = 4.0 if channel == "call" else 0.0
    return float(
        prices["budget"] * line["cost"]
        + prices.get("call_minutes", 0.0) * minutes
        + prices.get(f"stock:{offer}", 0.0)
    )


def check_status(shop: Workspace, acted: list[str]) -> None:
    status = call(shop, "status")
    assert status["state"] == "open" and status["decisions"] == 10
    assert status["states"] == {"reserved": len(acted) - 2, "confirmed": 1, "cancelled": 1, "expired": 0}
    budget = next(row for row in status["limits"] if row["id"] == "budget")
    assert budget["used"] == pytest.approx(budget["kept"] + budget["reserved"]) and budget["kept"] > 0
    assert budget["left"] == pytest.approx(9 - budget["used"]) and budget["exact"]
    assert status["notices"]
    for language, words in (("en", "reserved"), ("zh", "预留中")):
        set_language(language)  # type: ignore[arg-type]
        assert words in call(shop, "status", as_json=False)
    set_language("en")


def check_exposures(shop: Workspace, answers: dict, acted: list[str]) -> None:  # type: ignore[type-arg]
    rows = {row["request_id"]: row for row in read(shop, "SELECT * FROM exposures")}
    assert set(rows) == set(answers)
    for name, row in rows.items():
        told = answers[name]
        assert row["probability"] == told["probability"] and row["action_id"] == told["action_id"]
        assert row["decided_on"] == DAY and row["reason"] == told["reason"]
    states = [rows[name]["state"] for name in acted[:4]]
    assert states == ["confirmed", "cancelled", "confirmed", "reserved"][: len(states)]
    sent = read(shop, "SELECT * FROM events WHERE name = 'Message Sent' AND source = 'aimwell'")
    people = sorted(row["customer_id"] for row in sent)
    assert people == sorted(answers[name]["customer_id"] for name in (acted[0], acted[2]))


def test_pages_are_in_the_readers_language(shop: Workspace) -> None:
    assert "customers may get" in call(shop, "open", as_json=False)
    set_language("zh")
    page = call(shop, "decide", "c0", as_json=False)
    assert "不采取动作" in page and "不可行" in page
    set_language("en")
    assert "no action" in call(shop, "decide", "c0", as_json=False)


def test_what_cannot_be_done_says_why(shop: Workspace) -> None:
    call(shop, "open")
    assert fail(shop, "open") == "strategy.live_plan_exists"
    assert fail(shop, "decide", "nobody") == "strategy.unknown_live_customer"
    assert fail(shop, "decide", "c5", "--context", "[]") == "cli.bad_context"
    assert fail(shop, "decide", "c5", "--context", '{"x": 1}') == "strategy.bad_live_context"
    assert fail(shop, "decide", "c5", "--request", "r" * 129) == "strategy.bad_live_request"
    assert fail(shop, "decide", "c5", "--plan", "none") == "strategy.no_live_plan"
    assert fail(shop, "confirm", "never") == "strategy.unknown_request"
    call(shop, "decide", "c0", "--request", "none")
    assert fail(shop, "cancel", "none") == "strategy.nothing_reserved"
    call(shop, "open", "--day", "2024-06-03", "--name", "later")
    assert fail(shop, "decide", "c5", "--plan", "later") == "strategy.live_plan_over"


def test_a_day_that_is_over_is_closed_when_the_next_is_opened(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(shop, "open")
    decided = [call(shop, "decide", f"c{n}") for n in range(3, 9)]
    monkeypatch.setattr("aimwell.cli.strategy_live._clock", lambda: NOW_MS / 1000 + 86_400)
    opened = call(shop, "open", "--day", "2024-06-02")
    assert opened["closed"] == [f"live-{DAY}"]
    rows = read(shop, "SELECT state FROM exposures")
    assert len(rows) == len(decided)
    # Nobody said that anything was shown: all of it was given back.
    assert {row["state"] for row in rows} <= {"expired", None}
    assert all(row["used"] == 0 for row in call(shop, "status", f"live-{DAY}")["limits"])
