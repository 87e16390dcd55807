"""The service is killed again and again while clients ask, who repeat under the same id whatever was not answered:
each event, decision and refusal that was answered is there once, and no budget is broken."""

from __future__ import annotations

import json
import random
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.deployment.unsubscribe import build_link
from aimwell.engine.ledger_tables import CONSENT_STATES
from aimwell.engine.permissions import list_suppressions
from aimwell.engine.secret import load_secret
from aimwell.engine.settings import Settings, StoreSettings
from aimwell.engine.workspace import Workspace
from aimwell.service.server import open_socket
from tests.deployment.stores import BOTH
from tests.faults.victims import PATIENCE, count_kills, kill, serve, sleep_at_random, start, wait_until
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)
from tests.service.live_world import open_today
from tests.service.scene import make_key, read_events
from tests.strategy.live.world import check_books

KILLS = {"sqlite": 25, "postgres": 15}
CLIENTS, PEOPLE, BUDGET = 3, 4_000, 200


@pytest.fixture(params=BOTH)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with its store on each database; the parameter is its name."""
    return make(request, tmp_path / "w", monkeypatch)


def make(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    if request.param == "sqlite":
        return Workspace.create(folder, zone="UTC")
    server: Server = request.getfixturevalue("postgres")
    name = f"killed{abs(hash(str(folder)))}"
    server.run(f"CREATE DATABASE {name}")
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
    settings = Settings(store=StoreSettings(url=server.address(name, password=None)))
    return Workspace.create(folder, zone="UTC", settings=settings)


class Client(threading.Thread):
    """Posts, decides and refuses by turns; repeats each until it is answered with success."""

    def __init__(self, number: int, shop: Workspace, port: int, key: str) -> None:
        super().__init__(daemon=True)
        self.number, self.port = number, port
        self.secret = load_secret(shop.path)
        self.sign = {"Authorization": "Basic " + b64encode(f"{key}:".encode()).decode()}
        self.events: list[str] = []
        self.decisions: dict[str, dict[str, Any]] = {}
        self.refusals: list[str] = []
        self.repeats = 0
        self.stop = threading.Event()
        self.broken: BaseException | None = None

    def run(self) -> None:
        try:
            turn = 0
            while not self.stop.is_set():
                turn += 1
                self.post(turn)
                self.decide(turn)
                if turn % 4 == 0:
                    self.refuse(turn)
        except BaseException as error:
            self.broken = error

    def post(self, turn: int) -> None:
        names = [f"{self.number}-{turn}-{item}" for item in range(1 + turn % 3)]
        items = [
            {"type": "track", "event": "Product Viewed", "userId": "u", "messageId": name} for name in names
        ]
        self.ask("/v1/batch", json.dumps({"batch": items}).encode(), self.sign)
        self.events += names

    def decide(self, turn: int) -> None:
        request = f"r{self.number}-{turn}"
        question = {"customer_id": f"c{(turn * CLIENTS + self.number) % PEOPLE}", "request_id": request}
        self.decisions[request] = self.ask("/v1/decide", json.dumps(question).encode(), self.sign)

    def refuse(self, turn: int) -> None:
        customer = f"c{(turn * CLIENTS + self.number) % PEOPLE}"
        link = build_link(self.secret, customer_id=customer, channel="sms", address="http://here")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        self.ask(link.removeprefix("http://here"), b"List-Unsubscribe=One-Click", form)
        self.refusals.append(customer)

    def ask(self, path: str, body: bytes, headers: dict[str, str]) -> Any:
        while True:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            try:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, HTTPException):
                self.repeats += 1
                continue
            finally:
                connection.close()
            assert answer.status == 200, content
            return None if path.startswith("/unsub") else json.loads(content)


def test_a_service_that_is_killed_keeps_what_it_answered_and_no_more(shop: Workspace) -> None:
    chance = random.Random(5)
    kills = count_kills(KILLS["sqlite" if shop.store.is_sqlite else "postgres"])
    plan, key = open_today(shop.store, people=PEOPLE, budget=BUDGET), make_key(shop)
    listener = open_socket("127.0.0.1", 0)
    clients = [Client(number, shop, listener.getsockname()[1], key) for number in range(CLIENTS)]

    def count() -> int:
        return sum(len(one.events) + len(one.decisions) for one in clients)

    def has_more(before: int) -> Callable[[], bool]:
        return lambda: count() > before

    process = start(serve, shop.path, listener)
    for client in clients:
        client.start()
    try:
        for _ in range(kills):
            wait_until(has_more(count()), "nothing is answered", process=process)
            sleep_at_random(chance, 0.15)
            assert kill(process)
            process = start(serve, shop.path, listener)
        wait_until(has_more(count()), "nothing is answered after the kills", process=process)
    finally:
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join(PATIENCE)
        kill(process)
        listener.close()
    assert [client.broken for client in clients] == [None] * CLIENTS
    assert not any(client.is_alive() for client in clients)
    assert sum(client.repeats for client in clients) > 0, "no kill met anybody"
    check_events(shop, [name for client in clients for name in client.events])
    log = check_books(shop.store, plan)
    check_decisions(log, {name: told for client in clients for name, told in client.decisions.items()})
    check_refusals(shop, clients)
    print(f"{kills} kills, {count()} answers, {sum(client.repeats for client in clients)} repeats")
    shop.close()


def check_events(shop: Workspace, answered: list[str]) -> None:
    kept = [row["event_id"] for row in read_events(shop)]
    assert len(kept) == len(set(kept)), "doubled"
    # What was stored though nobody was told was asked for again: so both are the same.
    assert set(answered) == set(kept)


def check_decisions(log: list[dict[str, Any]], answered: dict[str, dict[str, Any]]) -> None:
    logged = {row["request_id"]: (row["customer_id"], row["action_id"]) for row in log}
    assert logged == {name: (told["customer_id"], told["action_id"]) for name, told in answered.items()}
    assert sum(row["cost_cents"] for row in log if row["state"] == "reserved") <= BUDGET


def check_refusals(shop: Workspace, clients: list[Client]) -> None:
    refused = Counter(customer for client in clients for customer in client.refusals)
    columns = CONSENT_STATES.c
    query = sa.select(columns.customer_id).where(columns.channel == "sms", columns.allowed.is_(False))
    with shop.store.snapshot() as connection:
        withdrawn = Counter(connection.execute(query).scalars())
        suppressed = {(one.customer_id, one.channel) for one in list_suppressions(connection, list(refused))}
    assert set(withdrawn) | {customer for customer, _ in suppressed} == set(refused)
    assert set(withdrawn.values()) <= {1}
