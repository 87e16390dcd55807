"""The data step's summary: sources, tables, period, walls, findings, and what is lacking for which analysis.

Reads the tables of the data step and ``quality``; writes nothing.
"""

from __future__ import annotations

import json
from typing import Any

from aimwell.core.tables import WALLS
from aimwell.core.text import Text, say
from aimwell.data.findings import ask
from aimwell.data.quality_history import CREDIT, score_sources
from aimwell.engine.session import Queryable

_TABLES = (
    "customers",
    "products",
    "order_lines",
    "events",
    "consents",
    "signals",
    "identifiers",
    "identities",
    "erasures",
    "rejects",
)


def summarise(reader: Queryable) -> dict[str, Any]:
    """The ``data`` part of the report, as JSON-able values."""
    findings = _list_findings(reader)
    return {
        "sources": _list_sources(reader),
        "tables": {
            name: int(ask(reader, f"SELECT count(*) AS rows FROM {name}")[0]["rows"]) for name in _TABLES
        },
        "period": _find_period(reader),
        "walls": score_walls(findings),
        "scores": score_sources(findings),
        "quality": findings,
        "lacks": [text.both() for text in find_lacks(reader)],
    }


def score_walls(findings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per wall the mean credit of its checks: ok 1, notice .9, warning .5, error 0; 1 without checks."""
    walls: dict[str, dict[str, Any]] = {}
    for wall in WALLS:
        severities = [finding["severity"] for finding in findings if finding["wall"] == wall]
        credits = [CREDIT[severity] for severity in severities]
        walls[wall] = {
            "score": sum(credits) / len(credits) if credits else 1.0,
            "checks": len(severities),
            "warnings": severities.count("warning"),
            "errors": severities.count("error"),
        }
    return walls


def find_lacks(reader: Queryable) -> tuple[Text, ...]:
    """What is not there, and which analyses fall away with it."""
    facts = ask(reader, f"SELECT {', '.join(f'EXISTS ({sql}) AS {name}' for name, sql in _FACTS.items())}")[0]
    if not facts["lines"]:
        if facts["events"]:
            return (
                say(
                    "There are no orders: what customers do can be analysed, what they spend cannot, and no campaign "
                    "can be planned. Add a file: aimwell data add FILE --as order_lines"
                ),
            )
        return (
            say(
                "There are no orders: nothing can be analysed. Add a file: aimwell data add FILE --as order_lines"
            ),
        )
    return tuple(text for name, text in _LACKS.items() if not facts[name])


def _list_sources(reader: Queryable) -> list[dict[str, Any]]:
    rows = ask(reader, "SELECT * FROM sources ORDER BY loaded_at, source, table_name, file")
    return [
        {
            "name": row["source"],
            "table": row["table_name"],
            "file": row["file"],
            "encoding": row["encoding"],
            "rows": row["rows"],
            "accepted": row["accepted"],
            "rejected": row["rejected"],
            "notices": [
                Text.from_json(text).both() for text in json.loads(row["reading"]).get("notices", [])
            ],
        }
        for row in rows
    ]


def _find_period(reader: Queryable) -> dict[str, str | None]:
    row = ask(reader, "SELECT min(ordered_on) AS first, max(ordered_on) AS last FROM order_lines")[0]
    return {
        "start": row["first"].isoformat() if row["first"] else None,
        "end": row["last"].isoformat() if row["last"] else None,
    }


def _list_findings(reader: Queryable) -> list[dict[str, Any]]:
    rows = ask(
        reader,
        """
        SELECT *, CASE severity WHEN 'error' THEN 0 WHEN 'warning' THEN 1 WHEN 'notice' THEN 2 ELSE 3 END AS rank
        FROM quality ORDER BY rank, source, table_name, column_name, check_name
        """,
    )
    return [
        {
            "source": row["source"],
            "table": row["table_name"],
            "column": row["column_name"],
            "wall": row["wall"],
            "check": row["check_name"],
            "severity": row["severity"],
            "affected": row["affected"],
            "total": row["total"],
            "examples": json.loads(row["examples"]),
            "finding": Text.from_json(row["finding"]).both(),
            "remedy": Text.from_json(row["remedy"]).both() if row["remedy"] else None,
        }
        for row in rows
    ]


_FACTS = {
    "lines": "SELECT 1 FROM order_lines",
    "revenues": "SELECT 1 FROM order_lines WHERE revenue IS NOT NULL",
    "sold": "SELECT 1 FROM order_lines WHERE product_id IS NOT NULL",
    "hours": "SELECT 1 FROM order_lines WHERE ordered_hour IS NOT NULL",
    "discounts": "SELECT 1 FROM order_lines WHERE discount IS NOT NULL",
    "stores": "SELECT 1 FROM order_lines WHERE store_id IS NOT NULL",
    "grouped": "SELECT 1 FROM products WHERE department IS NOT NULL OR category IS NOT NULL",
    "costs": "SELECT 1 FROM products WHERE unit_cost IS NOT NULL",
    "stocks": "SELECT 1 FROM products WHERE stock IS NOT NULL",
    "events": "SELECT 1 FROM events",
    "consents": "SELECT 1 FROM consents",
    "contacts": "SELECT 1 FROM customers WHERE email IS NOT NULL OR phone IS NOT NULL OR address IS NOT NULL",
}
"""What ``find_lacks`` looks for: one row is enough."""
_LACKS = {
    "revenues": say(
        "No amounts: orders and units are counted; value, margin, ROI and CLV in money fall away. "
        "Deliver an amount or a unit price."
    ),
    "sold": say(
        "No products: recommendations, favourite products and offers on products fall away. "
        "Deliver a product column."
    ),
    "grouped": say(
        "No departments: offers are proposed for single products. Deliver departments or "
        "categories: aimwell data add FILE --as products"
    ),
    "costs": say(
        "No unit costs: margins use the margin rate of the settings. Deliver unit_cost: aimwell "
        "data add FILE --as products"
    ),
    "stocks": say(
        "No stock: a plan cannot see that an offer is sold out. Deliver stock: aimwell data add FILE --as products"
    ),
    "hours": say("Orders have dates only: the favourite hour falls away. Deliver the time of the order."),
    "discounts": say("No discounts: sensitivity to discounts falls away. Deliver a discount column."),
    "stores": say("No stores or regions: figures per region fall away. Deliver a store or region column."),
    "events": say(
        "No events: reactions to earlier campaigns are unknown. Deliver them: aimwell data add FILE --as events"
    ),
    "consents": say(
        "No consents: nobody has allowed or refused contact. Deliver them: aimwell data add FILE --as consents"
    ),
    "contacts": say(
        "No e-mail, phone or address: messages are written as lists of customer numbers. Deliver "
        "contacts: aimwell data add FILE --as customers"
    ),
}
"""By the fact that is not there."""
