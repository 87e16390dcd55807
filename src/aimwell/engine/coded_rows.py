"""Rows coded for scanning: what the published file holds of events, orders and order lines, and how it is made.

A customer is a whole number (``numbers``), a text that comes again and again another (``words``: the name, channel
and product of events, the product of order lines), an instant its microseconds since 1970. Rows stand by customer,
instant and id, so that one pass over them needs no sorting. Texts of tags that have few values are codes, too, which
DuckDB shows as texts. Numbers and codes are given once, in the order of what they stand for, and kept from edition to
edition (codes of tags: for an edition); what comes later is numbered on.
Reads events, order_lines and customers; writes tables of the published file, which is attached as ``published``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from aimwell.engine.session import Session
from aimwell.engine.sql_text import quote_name

MONTH_TABLE = re.compile(r"events_(\d{4})_(\d{2})")
NO_EVENTS = "events_none"
WORD_COLUMNS: dict[str, tuple[str, ...]] = {
    "events": ("name", "channel", "product_id"),
    "order_lines": ("product_id",),
}
"""The columns of each table whose values stand as codes."""
DICTIONARIES = ("numbers", "words", "months", "month_names")
"""The tables beside those of rows: see ``make_dictionaries``."""
_MOST_VALUES = 1_000
_RANGE = 120_000
"""Customers whose tags are sorted at a time: a row group of the file."""
_SORTED = 5_000_000
"""Events that are sorted at a time, more or less."""
_RETURNED = "CASE WHEN l.quantity < 0 OR l.revenue < 0 THEN TRUE ELSE FALSE END"


@dataclass(frozen=True)
class Month:
    """One month's table of events: its rows, and its first and last instant in microseconds since 1970."""

    name: str
    rows: int
    first_at: int
    last_at: int

    @property
    def days(self) -> tuple[date, date]:
        """The first day of the month and of the one after it."""
        return find_days(self.name)


def find_days(name: str) -> tuple[date, date]:
    """The first day of the month that a table holds, and of the one after it."""
    found = MONTH_TABLE.fullmatch(name)
    assert found is not None
    first = date(int(found[1]), int(found[2]), 1)
    return first, date(first.year + first.month // 12, first.month % 12 + 1, 1)


def make_dictionaries(session: Session) -> None:
    """The empty tables of numbers, words and months, where they are not there yet."""
    session.execute("CREATE TABLE IF NOT EXISTS published.numbers (customer INTEGER, customer_id VARCHAR)")
    session.execute("CREATE TABLE IF NOT EXISTS published.words (kind VARCHAR, code INTEGER, word VARCHAR)")
    session.execute(
        "CREATE TABLE IF NOT EXISTS published.months (name VARCHAR, n BIGINT, first_at BIGINT, last_at BIGINT)"
    )
    session.execute("CREATE TABLE IF NOT EXISTS published.month_names (name VARCHAR, code INTEGER, n BIGINT)")


def number_all(session: Session, parts: Sequence[str]) -> None:
    """Give a number to every customer, and a code to every word, of the parts that have none yet."""
    sources = [("events", _render_days(parts))] if any(map(MONTH_TABLE.fullmatch, parts)) else []
    sources += [("order_lines", "")] if "order_lines" in parts else []
    people = " UNION ALL ".join(f"SELECT customer_id FROM {table}{where}" for table, where in sources)
    if not people:
        return
    session.execute(f"""\
INSERT INTO published.numbers
SELECT (SELECT COUNT(*) FROM published.numbers) + ROW_NUMBER() OVER (ORDER BY p.customer_id) - 1, p.customer_id
FROM (SELECT DISTINCT customer_id FROM ({people}) AS found) AS p
WHERE NOT EXISTS (SELECT 1 FROM published.numbers AS k WHERE k.customer_id = p.customer_id)
ORDER BY p.customer_id""")
    for kind in WORD_COLUMNS["events"]:
        words = " UNION ALL ".join(
            f"SELECT {kind} AS word FROM {table}{where}"
            for table, where in sources
            if kind in WORD_COLUMNS[table]
        )
        if not words:
            continue
        session.execute(f"""\
INSERT INTO published.words
SELECT
    '{kind}',
    (SELECT COUNT(*) FROM published.words WHERE kind = '{kind}') + ROW_NUMBER() OVER (ORDER BY w.word) - 1,
    w.word
FROM (SELECT DISTINCT word FROM ({words}) AS found) AS w
WHERE w.word IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM published.words AS k WHERE k.kind = '{kind}' AND k.word = w.word)
ORDER BY w.word""")


def make_part(session: Session, name: str) -> None:
    """Make one table of the published file anew."""
    if name == "tags":
        _make_tags(session)
    elif MONTH_TABLE.fullmatch(name):
        _make_month(session, name)
    else:
        session.execute(f"CREATE OR REPLACE TABLE published.{name} AS {_render_part(name)}")
    if MONTH_TABLE.fullmatch(name):
        forget_month(session, name)
        session.execute(
            f"INSERT INTO published.month_names SELECT '{name}', e.name, COUNT(*) FROM published.{name} AS e"
            " GROUP BY e.name"
        )
        session.execute(
            f"INSERT INTO published.months SELECT '{name}', COUNT(*), MIN(moment), MAX(moment) FROM published.{name}"
            " HAVING COUNT(*) > 0"
        )


def forget_month(session: Session, name: str) -> None:
    """Remove what is known about a month's table."""
    for table in ("months", "month_names"):
        session.execute(f"DELETE FROM published.{table} WHERE name = '{name}'")


def render_events_view(months: Sequence[str]) -> str:
    """The events of all months, in words again; properties and sources stand in the warehouse only."""
    union = " UNION ALL ".join(f"SELECT * FROM {name}" for name in months)
    joins = " ".join(
        f"LEFT JOIN (SELECT code, word FROM words WHERE kind = '{kind}') AS {kind}_words"
        f" ON {kind}_words.code = e.{kind}"
        for kind in WORD_COLUMNS["events"]
    )
    words = ", ".join(f"{kind}_words.word AS {kind}" for kind in WORD_COLUMNS["events"])
    return (
        f"SELECT e.event_id, n.customer_id, {words}, MAKE_TIMESTAMPTZ(e.moment) AS occurred_at, e.day AS occurred_on"
        f" FROM ({union}) AS e JOIN numbers AS n ON n.customer = e.customer {joins}"
    )


def _render_days(parts: Sequence[str]) -> str:
    tests = []
    for name in parts:
        if MONTH_TABLE.fullmatch(name):
            first, after = find_days(name)
            tests.append(f"(occurred_on >= DATE '{first}' AND occurred_on < DATE '{after}')")
    return " WHERE " + " OR ".join(tests)


def _join_words(alias: str, kinds: Sequence[str]) -> str:
    return " ".join(
        f"LEFT JOIN (SELECT code, word FROM published.words WHERE kind = '{kind}') AS {kind}_words"
        f" ON {kind}_words.word = {alias}.{kind}"
        for kind in kinds
    )


def _render_part(name: str) -> str:
    match name:
        case "orders":
            return _render_orders()
        case "order_lines":
            return _render_lines()
        case _:
            return _render_events("WHERE 1 = 0")


def _make_month(session: Session, name: str) -> None:
    """A month's events, so many customers at a time that sorting them takes little memory."""
    days = _render_days([name])
    rows = session.query(f"SELECT COUNT(*) AS n FROM events{days}")["n"][0].as_py()
    customers = session.query("SELECT COUNT(*) AS n FROM published.numbers")["n"][0].as_py()
    parts = max(1, -(-rows // _SORTED))
    for part in range(parts):
        first, after = customers * part // parts, customers * (part + 1) // parts
        among = f"WHERE n.customer >= {first} AND n.customer < {after}"
        make = f"INSERT INTO published.{name}" if part else f"CREATE OR REPLACE TABLE published.{name} AS"
        session.execute(f"{make} {_render_events(days, among)}")


def _make_tags(session: Session) -> None:
    """The tags by customer, texts with few values as codes; a range at a time, since rows are wide to sort."""
    shown = []
    for column in session.query("SELECT * FROM tags LIMIT 0").schema:
        name = quote_name(column.name)
        values = _list_values(session, name) if pa.types.is_string(column.type) else None
        if values and column.name != "customer_id":
            listed = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
            shown.append(f"CAST({name} AS ENUM({listed})) AS {name}")
        else:
            shown.append(name)
    body = f"SELECT {', '.join(shown)} FROM tags"
    session.execute(f"CREATE OR REPLACE TABLE published.tags AS {body} LIMIT 0")
    starts = session.query(
        "SELECT customer_id FROM (SELECT customer_id, ROW_NUMBER() OVER (ORDER BY customer_id) AS place FROM tags)"
        f" WHERE place % {_RANGE} = 0 ORDER BY customer_id"
    )["customer_id"].to_pylist()
    for first, after in itertools.pairwise([None, *starts, None]):
        tests = ["customer_id >= $first"] if first is not None else []
        tests += ["customer_id < $after"] if after is not None else []
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        bound = {name: value for name, value in (("first", first), ("after", after)) if value is not None}
        session.execute(f"INSERT INTO published.tags {body}{where} ORDER BY customer_id", bound)


def _list_values(session: Session, name: str) -> list[str] | None:
    """The values of a column of tags, sorted; None where there are too many."""
    sql = f"SELECT DISTINCT {name} AS value FROM tags WHERE {name} IS NOT NULL LIMIT {_MOST_VALUES + 1}"
    values = sorted(session.query(sql)["value"].to_pylist())
    return values if len(values) <= _MOST_VALUES else None


def _render_events(where: str, among: str = "") -> str:
    codes = ", ".join(f"{kind}_words.code AS {kind}" for kind in WORD_COLUMNS["events"])
    # The rows are chosen first: the condition names no alias.
    return (
        f"SELECT n.customer, EPOCH_US(e.occurred_at) AS moment, e.occurred_on AS day, {codes}, e.event_id"
        f" FROM (SELECT * FROM events {where}) AS e"
        " JOIN published.numbers AS n ON n.customer_id = e.customer_id"
        f" {_join_words('e', WORD_COLUMNS['events'])} {among} ORDER BY n.customer, moment, e.event_id"
    )


def _render_orders() -> str:
    """Purchases as ``engine.step_rows`` has them, with their last day: an order may reach over several."""
    return (
        "SELECT n.customer, EPOCH_US(MIN(l.ordered_at)) AS moment, MIN(l.ordered_on) AS day,"
        " MAX(l.ordered_on) AS last_day, MIN(l.ordered_hour) AS hour,"
        " EXTRACT(ISODOW FROM MIN(l.ordered_on)) AS weekday, MIN(l.store_id) AS store_id, COUNT(*) AS lines,"
        " SUM(l.quantity) AS units, SUM(l.revenue) AS revenue, SUM(l.discount) AS discount, l.order_id"
        " FROM order_lines AS l JOIN published.numbers AS n ON n.customer_id = l.customer_id"
        f" GROUP BY n.customer, l.order_id HAVING SUM({_count_purchase()}) > 0"
        " ORDER BY n.customer, moment, l.order_id"
    )


def _count_purchase() -> str:
    return f"CASE WHEN {_RETURNED} THEN 0 ELSE 1 END"


def _render_lines() -> str:
    return (
        "SELECT n.customer, EPOCH_US(l.ordered_at) AS moment, l.ordered_on AS day, l.ordered_hour, l.quantity,"
        f" l.revenue, l.discount, l.store_id, {_RETURNED} AS is_return, product_id_words.code AS product_id,"
        " l.order_id, l.line_id"
        " FROM order_lines AS l JOIN published.numbers AS n ON n.customer_id = l.customer_id"
        f" {_join_words('l', WORD_COLUMNS['order_lines'])} ORDER BY n.customer, moment, l.line_id"
    )
