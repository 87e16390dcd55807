"""What the warehouse knows of customers, for journeys: rules, dates, zones, addresses, consents.

Reads ``customers``, ``tags``, ``segments``, ``consents``, ``events``, ``identities`` and the sources of rules' figures;
writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from aimwell.core.errors import AimwellError
from aimwell.core.money import to_cents
from aimwell.core.tables import Type
from aimwell.core.time import business_day
from aimwell.deployment.audience import OUR_SOURCE
from aimwell.deployment.journeys.addresses import list_reached
from aimwell.deployment.journeys.knowledge import Contact, Joined, Knowledge, Need
from aimwell.deployment.journeys.local_time import ZONES, find_zone, list_returns, read_date
from aimwell.engine.carried_records import carry_contacts, carry_suppressions
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.manifest import list_versions, read_version
from aimwell.engine.permissions import ConsentState, count_suppressions
from aimwell.engine.rule import ATTRIBUTE, Rule
from aimwell.engine.rule_check import validate_rule
from aimwell.engine.rule_json import rule_from_json
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.sql_text import quote_name
from aimwell.engine.workspace import Reader, Workspace

CONTACTS_SQL = """
SELECT customer_id, count(*) AS contacts
FROM events
WHERE name = 'Message Sent' AND source <> $ours AND occurred_on > $first AND occurred_on <= $last
    AND customer_id IN (SELECT customer_id FROM asked)
GROUP BY customer_id
"""
CONSENTS_SQL = f"""
WITH latest AS (
{
    select_consents(
        purpose="marketing", any_refusal=True, where="customer_id IN (SELECT customer_id FROM asked)"
    )
}
)
SELECT customer_id, channel, answered, since, until
FROM latest
ORDER BY customer_id, channel
"""


class WarehouseFacts:
    """Knows the customers of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._zone = workspace.settings.business.zone
        self._joined = Joined()
        self._carried: tuple[int, int] = (-1, -1)
        self._zones: tuple[int, list[str]] = (-1, [])

    def learn(self, need: Need, customers: frozenset[str], now_ms: int) -> Knowledge:
        """What ``need`` asks, of these customers."""
        if need.contacts:
            self._carry_over(now_ms)
        with self._asking(customers) as reader:
            rows = _read_customers(reader)
            channels = self._workspace.settings.channels
            return Knowledge(
                self._zone,
                customers,
                zones={name: find_zone(row, self._zone) for name, row in rows.items()},
                rules=self._decide(reader, need.rules, now_ms),
                dates={of: _read_dates(reader, of, rows) for of in need.dates},
                contacts=self._read_contacts(reader, rows, customers, now_ms) if need.contacts else {},
                consents=_read_consents(reader, now_ms) if need.contacts else (),
                costs={name: to_cents(one.unit_cost) for name, one in channels.items()},
            )

    def list_holders(self, rule: Rule, now_ms: int) -> list[str]:
        """All customers for whom ``rule`` holds."""
        with self._workspace.read() as reader:
            found = self._decide(reader, {"holds": rule}, now_ms, among=None)
        return sorted(found["holds"])

    def list_dated(self, of: str, first: date, last: date, *, yearly: bool) -> list[tuple[str, date, str]]:
        """Customer, date and zone of all whose date ``of`` (or its yearly return) is from ``first`` to ``last``."""
        with self._workspace.read() as reader:
            table = "customers" if of.startswith(ATTRIBUTE) else "tags"
            column = of.removeprefix(ATTRIBUTE)
            if column not in _list_columns(reader, table):
                return []
            zones = [name for name in ZONES if name in _list_columns(reader, "customers")]
            shown = "".join(f", c.{quote_name(name)}" for name in zones)
            joined = " LEFT JOIN customers AS c ON c.customer_id = d.customer_id" if zones else ""
            sql = (
                f"SELECT d.customer_id, d.{quote_name(column)} AS day{shown} FROM {table} AS d{joined}"
                f" WHERE d.{quote_name(column)} IS NOT NULL ORDER BY d.customer_id"
            )
            found = []
            for batch in reader.query_batches(sql):
                for row in batch.to_pylist():
                    day = read_date(row["day"])
                    if day is not None and (
                        list_returns(day, first, last) if yearly else first <= day <= last
                    ):
                        found.append((row["customer_id"], day, find_zone(row, self._zone)))
        return found

    def find_version(self, of: str) -> int:
        """The version of the table that has the dates ``of``."""
        with self._workspace.store.snapshot() as connection:
            versions = list_versions(connection)
        return versions.get("customers" if of.startswith(ATTRIBUTE) else "tags", 0)

    def read_joined(self) -> Joined:
        """The records that were joined with others, as they are now."""
        # Until nobody joined any while they were read.
        while (version := self._find_joined()) != self._joined.version:
            sql = "SELECT record_id, customer_id FROM identities WHERE record_id <> customer_id"
            with self._workspace.read() as reader:
                found = reader.query(sql)
            customers = zip(*(found[name].to_pylist() for name in found.column_names), strict=True)
            self._joined = Joined(version, dict(customers))
        return self._joined

    def _find_joined(self) -> int:
        with self._workspace.store.snapshot() as connection:
            return read_version(connection, "identities")

    def has_zones(self) -> bool:
        """Whether customers have zones of their own."""
        version = self.find_version(ATTRIBUTE)
        if version != self._zones[0]:
            with self._workspace.read() as reader:
                known = _list_columns(reader, "customers")
            self._zones = version, [name for name in ZONES if name in known]
        return bool(self._zones[1])

    def _carry_over(self, now_ms: int) -> None:
        """What happened to records that belong to a person by now happened to the person."""
        with self._workspace.store.snapshot() as connection:
            state = (list_versions(connection).get("identities", 0), count_suppressions(connection))
        if state[0] != self._carried[0]:
            # They are many: not again whenever somebody is suppressed.
            instant = datetime.fromtimestamp(now_ms / 1000, UTC)
            carry_contacts(self._workspace, business_day(instant, self._zone))
        if state != self._carried:
            carry_suppressions(self._workspace)
            with self._workspace.store.snapshot() as connection:
                self._carried = (state[0], count_suppressions(connection))

    @contextmanager
    def _asking(self, customers: frozenset[str]) -> Iterator[Reader]:
        with self._workspace.read() as reader:
            reader.register("asked", pa.table({"customer_id": pa.array(sorted(customers), pa.string())}))
            yield reader

    def _decide(
        self, reader: Reader, rules: Mapping[str, Rule], now_ms: int, *, among: str | None = "asked"
    ) -> dict[str, frozenset[str]]:
        """For each rule the customers for whom it holds; for nobody where it cannot be decided (a tag that went)."""
        found = {key: frozenset[str]() for key in rules}
        types, segments = read_rule_types(reader), read_segments(reader)
        named = {
            f"rule_{number}": (key, rule)
            for number, (key, rule) in enumerate(rules.items())
            if _can_be_decided(rule, types, segments)
        }
        if not named:
            return found
        # As of tomorrow: what was done today counts.
        as_of = business_day(datetime.fromtimestamp(now_ms / 1000, UTC), self._zone) + timedelta(days=1)
        only = {name: rule for name, (_, rule) in named.items()}
        query = compile_rules(only, types, as_of=as_of, segments=segments, among=among)
        table = reader.query(query.sql, query.parameters)
        customers = table["customer_id"]
        for name, (key, _) in named.items():
            found[key] = frozenset(customers.filter(table[name]).to_pylist())
        return found

    def _read_contacts(
        self, reader: Reader, rows: Mapping[str, Mapping[str, Any]], customers: frozenset[str], now_ms: int
    ) -> dict[str, Contact]:
        today = business_day(datetime.fromtimestamp(now_ms / 1000, UTC), self._zone)
        first = today - timedelta(days=self._workspace.settings.contact.cap_days)
        parameters = {"ours": OUR_SOURCE, "first": first, "last": today}
        prior = {
            row["customer_id"]: int(row["contacts"])
            for row in reader.query(CONTACTS_SQL, parameters).to_pylist()
        }
        found = {}
        for customer in customers:
            reached = list_reached(customer, rows.get(customer, {}))
            found[customer] = Contact(reached, prior.get(customer, 0))
        return found


def read_segments(reader: Reader) -> dict[str, Rule]:
    """The rules of the segments of the last analysis, by name."""
    rows = reader.query("SELECT segment, rule FROM segments").to_pylist()
    return {row["segment"]: rule_from_json(json.loads(row["rule"])) for row in rows}


def _can_be_decided(rule: Rule, types: Mapping[str, Type], segments: Mapping[str, Rule]) -> bool:
    try:
        validate_rule(rule, types, segments=segments)
    except AimwellError:
        return False
    return True


def _read_customers(reader: Reader) -> dict[str, dict[str, Any]]:
    sql = "SELECT c.* FROM customers AS c JOIN asked ON asked.customer_id = c.customer_id"
    return {row["customer_id"]: row for row in reader.query(sql).to_pylist()}


def _read_dates(reader: Reader, of: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, date]:
    if of.startswith(ATTRIBUTE):
        column = of.removeprefix(ATTRIBUTE)
        found = {customer: read_date(row.get(column)) for customer, row in rows.items()}
    elif of in _list_columns(reader, "tags"):
        sql = (
            f"SELECT t.customer_id, t.{quote_name(of)} AS day FROM tags AS t"
            " JOIN asked ON asked.customer_id = t.customer_id"
        )
        found = {row["customer_id"]: read_date(row["day"]) for row in reader.query(sql).to_pylist()}
    else:
        found = {}
    return {customer: day for customer, day in found.items() if day is not None}


def _read_consents(reader: Reader, now_ms: int) -> tuple[ConsentState, ...]:
    instant = datetime.fromtimestamp(now_ms / 1000, UTC)
    rows = reader.query(CONSENTS_SQL, bind_instant(instant)).to_pylist()
    return tuple(
        ConsentState(
            row["customer_id"],
            row["channel"],
            row["answered"],
            _to_ms(row["since"]),
            None if row["until"] is None else _to_ms(row["until"]),
        )
        for row in rows
    )


def _list_columns(reader: Reader, table: str) -> list[str]:
    names: list[str] = reader.query(f"SELECT * FROM {table} LIMIT 0").column_names
    return names


def _to_ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
