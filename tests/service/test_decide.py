"""Live decisions over HTTP: durable, within the budget, explained on request, told when no day is open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aimwell.engine import store_engine
from aimwell.engine.permissions import suppress_customers
from aimwell.engine.store import STORE_FILE
from aimwell.engine.workspace import Workspace
from aimwell.service.app import create_app
from aimwell.strategy.live.plan import close_plan
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.service.live_world import open_today, read_decisions, read_used
from tests.service.scene import Service, make_key, make_workspace, running, serving, wait_until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[Workspace, Service, str]]:
    made = make_workspace(tmp_path / "w")
    with serving(create_app(made)) as service:
        yield made, service, make_key(made, "decide")
    made.close()


def test_without_an_open_day_the_remedy_is_told(here: tuple[Workspace, Service, str]) -> None:
    made, service, key = here
    for _ in range(2):
        answer = service.call("/v1/decide", {"customer_id": "c1"}, key=key)
        assert (answer.status, answer.code) == (409, "strategy.no_open_live_day")
        assert "aimwell strategy live open" in answer.json["error"]["remedy"]
        # Tomorrow's day decides nothing today.
        open_today(made.store, name="tomorrow", days=1)
    open_today(made.store)
    assert wait_until(lambda: service.call("/v1/decide", {"customer_id": "c1"}, key=key)).status == 200
    close_plan(made.store, "today")
    assert service.call("/v1/decide", {"customer_id": "c2"}, key=key).status == 409


def test_a_decision_is_logged_and_asked_again_the_same(here: tuple[Workspace, Service, str]) -> None:
    made, service, key = here
    open_today(made.store)
    asked = {"customer_id": "c1", "request_id": "visit-1"}
    first = service.call("/v1/decide", asked, key=key).json
    assert first["action_id"] == "sms" and first["reason"] == "chosen" and first["probability"] == 1.0
    assert first["plan_id"] == "today" and first["cost"] == 0.1 and first["confirm_until_ms"] > 0
    assert first["repeated"] is False
    again = service.call("/v1/decide", asked, key=key).json
    assert again["repeated"] is True and again["action_id"] == "sms"
    other = service.call("/v1/decide", {**asked, "customer_id": "c2"}, key=key)
    assert (other.status, other.code) == (409, "strategy.request_reused")
    (row,) = read_decisions(made.store)
    assert (row["request_id"], row["customer_id"], row["action_id"]) == ("visit-1", "c1", "sms")
    assert row["probability"] == 1.0
    assert read_used(made.store) == 10


def test_the_context_and_consent_narrow_the_choice(here: tuple[Workspace, Service, str]) -> None:
    made, service, key = here
    open_today(made.store)
    suppress_customers(made.store, ["c2"], channel="sms")

    def decide(customer: str, **context: object) -> object:
        answer = service.call("/v1/decide", {"customer_id": customer, "context": context}, key=key)
        return answer.json["action_id"] if answer.status == 200 else answer.code

    # Nobody allowed e-mail; a banner needs no consent.
    assert decide("c1") == "sms"
    assert decide("c2") == "banner"
    assert decide("c3", actions=["mail", "banner"]) == "banner"
    assert decide("c4", profit={"banner": 9.0}) == "banner"
    assert decide("c5", channels=["email"]) is None
    assert decide("c6", colour="red") == "service.bad_field"
    assert decide("c7", actions=["unknown"]) == "strategy.bad_live_context"
    assert decide("nobody") == "strategy.unknown_live_customer"


def test_an_explanation_on_request(here: tuple[Workspace, Service, str]) -> None:
    made, service, key = here
    open_today(made.store)
    told = service.call("/v1/decide", {"customer_id": "c1", "explain": True}, key=key).json
    assert told["action_id"] == "sms"
    lines = {line["action_id"]: line for line in told["explanation"]["actions"]}
    assert lines["sms"]["status"] == "chosen"
    assert lines["mail"]["status"] == "excluded"
    assert lines["banner"]["reason"]["zh"]
    assert "explanation" not in service.call("/v1/decide", {"customer_id": "c2"}, key=key).json


def test_outcomes_confirm_and_give_back(here: tuple[Workspace, Service, str]) -> None:
    made, service, key = here
    open_today(made.store)
    for number in range(3):
        body = {"customer_id": f"c{number}", "request_id": f"r{number}"}
        assert service.call("/v1/decide", body, key=key).status == 200
    assert read_used(made.store) == 30
    shown = service.call("/v1/outcome", {"request_id": "r0", "shown": True}, key=key)
    assert (shown.status, shown.json["state"], shown.json["repeated"]) == (200, "confirmed", False)
    outcomes = [
        {"request_id": "r0", "shown": True},
        {"request_id": "r1", "shown": False},
        {"request_id": "r0", "shown": False},
        {"request_id": "never", "shown": True},
    ]
    many = service.call("/v1/outcome", {"outcomes": outcomes}, key=key)
    assert many.status == 207
    told = many.json["outcomes"]
    assert [one.get("state") or one["error"]["code"] for one in told] == [
        "confirmed",
        "cancelled",
        "strategy.outcome_contradicts",
        "strategy.unknown_request",
    ]
    assert read_used(made.store) == 20
    assert service.call("/v1/outcome", {"request_id": "never", "shown": True}, key=key).status == 404


def test_an_outcome_finds_yesterdays_day(here: tuple[Workspace, Service, str]) -> None:
    made, service, key = here
    open_today(made.store)
    service.call("/v1/decide", {"customer_id": "c1", "request_id": "late"}, key=key)
    open_today(made.store, name="newer")
    answer = service.call("/v1/outcome", {"request_id": "late", "shown": True}, key=key)
    assert (answer.status, answer.json["state"]) == (200, "confirmed")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"customer_id": ""},
        {"customer_id": 3},
        {"customer_id": "x" * 256},
        {"customer_id": "c1", "request_id": "x" * 129},
        {"customer_id": "c1", "context": []},
        {"customer_id": "c1", "explain": "yes"},
        {"customer_id": "c1", "extra": 1},
        {"customer_id": "a\u0000b"},
        [],
    ],
)
def test_a_question_of_another_form_is_refused(service: Service, key: str, body: object) -> None:
    answer = service.call("/v1/decide", body, key=key)
    assert (answer.status, answer.code) == (400, "service.bad_field")


def test_many_at_once_keep_the_budget_and_all_are_logged(here: tuple[Workspace, Service, str]) -> None:
    made, service, key = here
    open_today(made.store, people=60, budget=205)
    answers: list[tuple[str, object]] = []

    def ask(part: int) -> None:
        for number in range(part, 60, 6):
            told = service.call(
                "/v1/decide", {"customer_id": f"c{number}", "request_id": f"r{number}"}, key=key
            )
            answers.append((told.json["request_id"], told.json["action_id"]))

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logged = {row["request_id"]: row["action_id"] for row in read_decisions(made.store)}
    assert len(answers) == 60
    assert dict(answers) == logged
    assert read_used(made.store) <= 205
    # Twenty take an SMS at ten cents; five more cents are banners at one, and the rest gets nothing.
    assert list(logged.values()).count("sms") == 20
    assert list(logged.values()).count("banner") == 5


def test_what_waits_for_nobody_is_done_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aimwell.service.app.LOOK_SECONDS", 0.02)
    made = make_workspace(tmp_path / "w")
    open_today(made.store, hold_ms=300)
    file = tmp_path / "w" / STORE_FILE
    with serving(create_app(made)) as service:
        key = make_key(made, "decide")
        assert service.call("/v1/decide", {"customer_id": "c1"}, key=key).status == 200
        assert read_used(made.store) in (0, 10)
        # It is given back, and what was written moves from the log into the file.
        wait_until(lambda: read_used(made.store) == 0)
        made.store.save_definition("test", "long", {"text": "x" * 1_000_000})
        wait_until(lambda: file.stat().st_size > 1_000_000)
    assert [row["state"] for row in read_decisions(made.store)] == ["expired"]
    made.close()


def test_several_processes_decide_on_postgresql(
    postgres: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres.run("DROP DATABASE IF EXISTS decide", "CREATE DATABASE decide")
    make_workspace(tmp_path / "w").close()
    monkeypatch.setenv("AIMWELL_STORE__URL", postgres.address("decide"))
    made = Workspace.open(tmp_path / "w")
    assert not made.store.is_sqlite
    open_today(made.store, people=80, budget=305)
    key = make_key(made)
    logged: dict[str, object] = {}
    with running(made.path, "--workers", "2") as service:

        def ask(part: int) -> None:
            for number in range(part, 80, 8):
                body = {"customer_id": f"c{number}", "request_id": f"r{number}"}
                answer = service.call("/v1/decide", body, key=key)
                assert answer.status == 200, answer.body
                logged[answer.json["request_id"]] = answer.json["action_id"]
                event = {"userId": f"c{number}", "event": "Seen", "messageId": f"m{number}"}
                assert service.call("/v1/track", event, key=key).status == 200

        threads = [threading.Thread(target=ask, args=(part,)) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {row["request_id"]: row["action_id"] for row in read_decisions(made.store)} == logged
    assert len(logged) == 80
    assert read_used(made.store) <= 305
    with made.read() as reader:
        assert reader.query("SELECT COUNT(DISTINCT event_id) AS n FROM events")["n"][0].as_py() == 80
    made.close()


def test_while_others_write_the_service_answers_all_else(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, service, key = here
    monkeypatch.setattr(store_engine, "PATIENCE", 600.0)
    open_today(made.store)
    assert wait_until(lambda: service.call("/v1/decide", {"customer_id": "c0"}, key=key)).status == 200
    told: dict[str, int] = {}

    def ask(customer: str) -> None:
        told[customer] = service.call("/v1/decide", {"customer_id": customer}, key=key).status

    def look() -> None:
        told["health"] = service.call("/healthz").status

    # The day is at hand: these would be decided in the loop itself, if it need not wait.
    asking = [threading.Thread(target=ask, args=(f"c{number}",)) for number in range(1, 4)]
    looking = threading.Thread(target=look)
    with made.store.begin():
        for thread in asking:
            thread.start()
        asking[0].join(0.5)
        looking.start()
        looking.join(120)
        # Nothing is decided while another transaction may change what it is decided by.
        assert told == {"health": 200}
    for thread in asking:
        thread.join(180)
    assert told == {"health": 200, "c1": 200, "c2": 200, "c3": 200}
    assert len(read_decisions(made.store)) == 4
