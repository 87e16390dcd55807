"""The demo's market: Complete Journey's households as they were, and the simulated response of those who were reached.

Before a wave the source delivers what really happened up to its first day. After it, the source delivers what
really happened in the window, and the simulator's orders and redemptions, labelled simulated. Hands customers,
products, order_lines, events and consents to the data step's door; keeps the truth of each plan as a definition
of kind ``truth``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from aimwell.core.seeds import draw_uniform
from aimwell.core.tables import CONSENTS
from aimwell.data.completejourney import read_complete_journey
from aimwell.data.step import load_tables
from aimwell.engine.workspace import Workspace
from aimwell.loop.market_features import read_customers, read_favourites, read_market_actions, read_sent
from aimwell.loop.market_rows import SIMULATED_SOURCE, Answer, make_lines, make_redemptions
from aimwell.loop.record import Wave
from aimwell.strategy.market import Integers, Market, Responses, respond

CONSENT_SOURCE = "simulated_consents"
CONSENT_SHARES = {"email": 0.85, "sms": 0.75, "call": 0.6, "mail": 0.9}
"""Complete Journey has no consents or addresses: the demo draws both, and says so."""


@dataclass(frozen=True)
class SimulatedMarket:
    """Complete Journey with planted responses; the same ``seed`` answers the same plan alike."""

    seed: int

    def open(self, workspace: Workspace, day: date) -> None:
        """Deliver what really happened before ``day``, and the drawn addresses and consents."""
        self._deliver(workspace, until=day, since=None)

    def answer(self, workspace: Workspace, wave: Wave) -> None:
        """Let time pass to the end of the wave's window: real behaviour, and simulated responses to what was sent."""
        self._deliver(workspace, until=wave.end, since=wave.as_of)
        answer, cost = self._respond(workspace, wave)
        made = {"order_lines": make_lines(answer), "events": make_redemptions(answer)}
        load_tables(workspace, SIMULATED_SOURCE, made, as_of=wave.end, quality=False)
        workspace.store.save_definition(
            "truth", wave.plan_id, _sum_truth(answer.responses, answer.action, cost)
        )

    def _deliver(self, workspace: Workspace, *, until: date, since: date | None) -> None:
        """Real rows from ``since`` on, everybody who is known by then, and the consents that were drawn for them."""
        found = read_complete_journey(until=until, since=since)
        customers = _add_addresses(found.tables["customers"])
        consents = draw_consents(customers["customer_id"].to_pylist(), seed=self.seed)
        tables = {**found.tables, "customers": customers}
        load_tables(workspace, found.source, tables, as_of=until, notices=found.notices, quality=False)
        load_tables(workspace, CONSENT_SOURCE, {"consents": consents}, as_of=until, quality=False)

    def _respond(self, workspace: Workspace, wave: Wave) -> tuple[Answer, float]:
        business = workspace.settings.business
        with workspace.read() as reader:
            customers, departments = read_customers(reader, wave.as_of, business.margin_rate)
            actions = read_market_actions(reader, departments)
            action, cost = read_sent(reader, wave.plan_id, customers, actions)
            favourites = read_favourites(reader, wave.as_of)
        found = respond(Market(self.seed), customers, actions, action, plan_id=wave.plan_id)
        answer = Answer(
            wave=wave,
            customers=customers,
            departments=departments,
            actions=actions,
            action=action,
            responses=found,
            favourites=favourites,
            seed=self.seed,
            zone_name=business.zone,
        )
        return answer, cost


def draw_consents(customers: list[str], *, seed: int) -> pa.Table:
    """One marketing consent per customer and channel, allowed with the channel's share."""
    since = datetime(2016, 12, 31, tzinfo=UTC)
    rows = [
        {
            "customer_id": customer,
            "channel": channel,
            "purpose": "marketing",
            "allowed": draw_uniform(f"consent:{channel}:{seed}", customer) < share,
            "since": since,
            "source": CONSENT_SOURCE,
        }
        for channel, share in CONSENT_SHARES.items()
        for customer in customers
    ]
    return CONSENTS.build(rows)


def _add_addresses(customers: pa.Table) -> pa.Table:
    ids = customers["customer_id"].to_pylist()
    drawn = {
        "email": [f"household-{customer}@example.com" for customer in ids],
        "phone": [f"+1555{int(customer):07d}" for customer in ids],
        "address": [f"{customer} Example Street" for customer in ids],
    }
    for name, values in drawn.items():
        if name in customers.column_names:
            customers = customers.drop_columns([name])
        customers = customers.append_column(name, pa.array(values, pa.string()))
    return customers


def _sum_truth(found: Responses, action: Integers, contact_cost: float) -> dict[str, Any]:
    contribution = float(found.contribution.sum())
    return {
        "simulated": True,
        "reached": int((action >= 0).sum()),
        "incremental_orders": float(found.orders.sum()),
        "incremental_revenue": float(found.revenue.sum()),
        "incremental_contribution": contribution,
        "contact_cost": contact_cost,
        "offer_cost": float(found.offer_cost.sum()),
        "incremental_profit": contribution - contact_cost,
    }
