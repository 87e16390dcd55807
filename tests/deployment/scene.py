"""What several tests of this room stand on: stores, ledgers, mail servers that behave badly, a small workspace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from aimwell.core.tables import TABLES
from aimwell.core.text import say
from aimwell.deployment.channels.smtp import Server
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.ledger_rows import Intended
from aimwell.deployment.policy import ContactRules
from aimwell.engine.store import Store
from aimwell.engine.workspace import Run, Workspace
from tests.deployment.mails import SENDER, compose

DAY = date(2017, 9, 4)
__all__ = ["SENDER", "compose"]
QUICK = Terms(lease=0.6, retry=0.0, attempts=3)


def open_store(folder: Path) -> Store:
    return Store.open_file(folder / "store.sqlite")


def open_ledger(
    store: Store,
    *,
    cap: int = 2,
    days: int = 28,
    terms: Terms = QUICK,
    clock: Any = None,
    rules: ContactRules | None = None,
) -> Ledger:
    return Ledger(store, rules=rules or ContactRules(cap, days), terms=terms, clock=clock or time.time)


def intend(customer: str, plan: str = "p1", channel: str = "email", **values: Any) -> Intended:
    settings: dict[str, Any] = {"contact_on": DAY, "unit_cost_cents": 1, "reachable": True, **values}
    return Intended(plan, customer, f"offer:{channel}", channel, **settings)


def fill(
    ledger: Ledger, customers: Iterable[str], plan: str = "p1", channel: str = "email", **values: Any
) -> None:
    """Consents and queued deliveries."""
    names = list(customers)
    ledger.remember_consents([(name, channel, True, 1) for name in names])
    ledger.enqueue([intend(name, plan, channel, **values) for name in names])


def count(ledger: Ledger, plan: str = "p1") -> dict[str, int]:
    """Rows by state."""
    states: dict[str, int] = {}
    for (_, state, _), (rows, _) in ledger.count_states(plan).items():
        states[state] = states.get(state, 0) + rows
    return states


def count_reasons(ledger: Ledger, plan: str = "p1") -> dict[str | None, int]:
    reasons: dict[str | None, int] = {}
    for (_, _, reason), (rows, _) in ledger.count_states(plan).items():
        reasons[reason] = reasons.get(reason, 0) + rows
    return reasons


class Moody:
    """A mail server that answers as told: by local part of the recipient, or at DATA."""

    def __init__(self, at_rcpt: dict[str, str] | None = None, at_data: dict[str, str] | None = None) -> None:
        self.at_rcpt, self.at_data = at_rcpt or {}, at_data or {}
        self.taken: list[str] = []
        self.sessions: set[int] = set()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.at_rcpt.get(address.partition("@")[0])
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.sessions.add(id(session))
        name = envelope.rcpt_tos[0].partition("@")[0]
        answer = self.at_data.get(name, "250 OK")
        if answer == "drop":
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "250 never heard"
        if answer.startswith("250"):
            self.taken.append(name)
        return answer


@contextmanager
def serve(handler: Moody) -> Iterator[Server]:
    from aimwell.deployment.sink import _bind, _Controller

    controller: Controller = _Controller(handler, _bind("127.0.0.1", 0))
    controller.start()
    try:
        yield Server("127.0.0.1", controller.port, SENDER, timeout=30)
    finally:
        controller.stop()


def build_workspace(
    path: Path, *, customers: int = 40, zone: str = "America/New_York", currency: str = "USD"
) -> Workspace:
    """A shop with one pilot plan ``p1``: customers c00…; every fourth is control, every tenth holdout."""
    workspace = Workspace.create(path, name="Shop", zone=zone, currency=currency)
    with workspace.run("data", as_of=DAY) as run:
        names = [f"c{number:02d}" for number in range(customers)]
        replace(run, "customers", [describe(name) for name in names])
        replace(run, "products", [{"product_id": "1", "name": "BANANAS", "source": "s"}])
        replace(run, "recommendations", [recommend(run, name) for name in names])
        replace(run, "consents", [consent(name, channel) for name in names for channel in CHANNELS])
        write_plan(run, "p1", names)
    return workspace


CHANNELS = ("email", "sms", "call", "mail")


def describe(name: str) -> dict[str, Any]:
    return {
        "customer_id": name,
        "email": f"{name}@customers.example",
        "phone": "+1 555 010 " + name[1:].zfill(4),
        "address": f"{name} Main Street, Springfield",
        "source": "s",
    }


def consent(name: str, channel: str, *, allowed: bool = True, day: int = 1) -> dict[str, Any]:
    since = datetime(2017, 8, day, tzinfo=UTC)
    return {"customer_id": name, "channel": channel, "purpose": "marketing", "allowed": allowed, "since": since,
            "source": "s"}  # fmt: skip


def recommend(run: Run, name: str) -> dict[str, Any]:
    return {
        "customer_id": name,
        "rank": 1,
        "product_id": "1",
        "score": 1.0,
        "new_to_customer": True,
        "run_id": run.id,
    }


def choose_arm(number: int) -> str:
    return "holdout" if number % 10 == 9 else "control" if number % 4 == 3 else "treatment"


def write_plan(
    run: Run, plan: str, names: list[str], *, wave: str = "pilot", round_number: int = 1, day: date = DAY
) -> None:
    """Add the plan: channels in turn over the customers."""
    actions = [
        {"action_id": f"produce_20:{channel}", "offer": "produce_20", "title": say("Call").to_json(),
         "channel": channel, "department": "PRODUCE", "discount": 0.2, "unit_cost": Decimal("0.05"),
         "redemption_cost": Decimal("2.50"), "minutes": 0.0, "run_id": run.id}
        for channel in CHANNELS
    ]  # fmt: skip
    replace(run, "actions", actions)
    row = {"plan_id": plan, "goal": "profit", "round_number": round_number, "wave": wave, "method": "randomised",
           "as_of": day, "days": 28, "audience": len(names), "chosen": len(names), "expected_profit": 1.0,
           "expected_profit_se": 1.0, "cost": Decimal("1.00"), "fingerprint": "f" * 64, "simulated": True,
           "run_id": run.id}  # fmt: skip
    keep(run, "plans", [row])
    items, arms = [], []
    for number, name in enumerate(names):
        action = f"produce_20:{CHANNELS[1 + number // 4 % 3 if number % 2 else 0]}"
        arms.append({"plan_id": plan, "customer_id": name, "arm": choose_arm(number), "action_id": action,
                     "probability": 0.5, "stratum": "all", "run_id": run.id})  # fmt: skip
        items.append({"plan_id": plan, "customer_id": name, "action_id": action, "expected_profit": 1.0,
                      "standard_error": 1.0, "expected_cost": 0.1, "probability": 0.5, "explored": False,
                      "reason": say("Call").to_json(), "run_id": run.id})  # fmt: skip
    keep(run, "plan_items", items)
    keep(run, "assignments", arms)


def replace(run: Run, table: str, rows: list[dict[str, Any]]) -> None:
    run.replace(table, TABLES[table].build(rows))


def keep(run: Run, table: str, rows: list[dict[str, Any]]) -> None:
    """Add rows to what stands."""
    before = run.query(f"SELECT * FROM {table}").to_pylist()
    replace(run, table, before + rows)
