"""Rules of every kind over tags made by hand: what is asked of every engine about segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from aimwell.core.tables import Type
from aimwell.engine.compile_rules import compile_rules, read_number
from aimwell.engine.rule import (
    All,
    Axis,
    Between,
    Compare,
    InSegment,
    IsEmpty,
    Measured,
    Nearest,
    Not,
    OneOf,
    Rule,
    Sequence,
    Step,
    bought,
    did,
)
from aimwell.engine.rule import (
    Any as AnyOne,
)
from aimwell.engine.specification import Aggregate, Condition, DaysSince, Window
from aimwell.engine.workspace import Reader
from tests.conformance.world import AS_OF, CUSTOMERS

TYPES = {
    "age": Type.INTEGER,
    "spend": Type.REAL,
    "word": Type.TEXT,
    "vip": Type.BOOLEAN,
    "born": Type.DATE,
    "customers.city": Type.TEXT,
    "customers.年龄": Type.TEXT,
}
ODD_NUMBERS = (
    *("18", " 18 ", "-3.5", "+5", "5.", ".5", "1e3", "1E-2", "0.1", "0.35", "123456.789012345", "007"),
    *(
        "",
        "  ",
        "nan",
        "NaN",
        "inf",
        "Infinity",
        "1_000",
        "1,000",
        "0x10",
        "5d",
        "5f",
        "12abc",
        "-",
        "e",
        "1.5e",
    ),
    *("true", "１８", "7\n", "\t7", "--1", "1.2.3", "上海"),
)
_NOW = (AS_OF - timedelta(days=29)).isoformat()
_VIEWED = (Condition("name", "=", "Product Viewed"),)
_SENT = (Condition("name", "=", "Message Sent"),)
_SOLD = (Condition("is_return", "=", False),)
LEAVES: dict[str, dict[str, Rule]] = {
    "tags": {
        "number": Compare("age", "!=", 2),
        "real": Compare("spend", "<=", 0.5),
        "text": OneOf("word", ("", "o'brien", "茶", "back\\slash", "$p1")),
        "flag": Compare("vip", "=", True),
        "day": Between("born", "2024-02-28", "2024-02-29"),
        "oldest": Compare("born", "<=", "0001-01-01"),
        "before_gregory": Compare("born", ">", "1582-10-10"),
        "endless": Compare("born", "=", "9999-12-31"),
        "empty": IsEmpty("born"),
        "nobody": AnyOne(()),
        "everybody": All(()),
    },
    "attributes": {
        "text": Compare("customers.city", "!=", "Bonn"),
        "listed": OneOf("customers.city", ("上海", "bonn")),
        "older": Compare("customers.年龄", ">", 18),
        "between": Between("customers.年龄", 18, 35.5),
        "one": OneOf("customers.年龄", (18, 60)),
        "no_number": Not(Compare("customers.city", ">", 0)),
        "empty": IsEmpty("customers.年龄"),
    },
    "figures": {
        "did": did("Product Viewed", 1, 366, (Condition("channel", "=", "web"),)),
        "category": did("Product Viewed", 1, None, (Condition("category", "!=", "茶"),)),
        "bought": bought(2, 90),
        "tea": bought(1, None, (Condition("category", "=", "茶"),)),
        "channels": Measured(Aggregate("events", "count_distinct", "channel", (), Window(365)), ">=", 2),
        "paid": Measured(Aggregate("order_lines", "sum", "revenue", _SOLD, Window(365, 1)), ">", 19.99),
        "order": Measured(Aggregate("orders", "average", "revenue"), "<", 100),
        "score": Measured(Aggregate("signals", "max", "score"), ">=", 9.5),
        "dated": Measured(
            Aggregate("events", "count", None, (*_VIEWED, Condition("occurred_on", ">=", _NOW))), "=", 0
        ),
        "since_last": Measured(DaysSince("order_lines", "last", _SOLD), "<=", 30),
        "since_first": Measured(DaysSince("events", "first", _VIEWED), ">", 60),
        "last_day": Measured(Aggregate("events", "max", "occurred_on", _VIEWED), ">=", "2024-02-01"),
    },
    "sequences": {
        "bought_after": Sequence((Step("events", _VIEWED), Step("order_lines", _SOLD, 30))),
        "left": Sequence((Step("events", _VIEWED),), Step("order_lines", _SOLD, 7), Window(365)),
        "never": Sequence((Step("events", _VIEWED), Step("events", _SENT, 400)), Step("order_lines", _SOLD)),
        "dated": Sequence(
            (
                Step(
                    "events",
                    (*_VIEWED, Condition("occurred_on", "<", _NOW), Condition("category", "!=", "TEA")),
                ),
                Step("order_lines", (Condition("category", "=", "茶"),), 400),
            )
        ),
    },
    "nearest": {
        f"point_{number}": Nearest(
            (Axis("age", 1.0, 2.0), Axis("spend", 0.25, 0.5, log=True)),
            ((0.0, 0.0), (0.9, -0.7), (-1.0, -2.0)),
            number,
        )
        for number in range(3)
    },
    "segments": {
        "inside": InSegment("third"),
        "outside": Not(InSegment("second")),
        "either": AnyOne((InSegment("first"), All((InSegment("second"), Compare("age", ">", 0))))),
    },
}
SEGMENTS: dict[str, Rule] = {
    "first": did("Product Viewed", 1, 90),
    "second": AnyOne((InSegment("first"), Compare("vip", "=", True))),
    "third": All((Not(InSegment("first")), InSegment("second"))),
}


def list_rule_questions() -> Iterator[tuple[str, Any]]:
    """One question for each kind of leaf, and one about texts that are read as numbers."""
    for kind, rules in LEAVES.items():
        yield f"rules over {kind}", ask_rules(rules)
    yield "texts that are read as numbers", _read_texts


def ask_rules(rules: dict[str, Rule]) -> Callable[[Reader], pa.Table]:
    """Asks for whom the rules hold."""
    return lambda reader: _ask(reader, rules)


def _ask(reader: Reader, rules: dict[str, Rule]) -> pa.Table:
    reader.register("made_tags", _make_tags())
    query = compile_rules(rules, TYPES, as_of=AS_OF, table="made_tags", segments=SEGMENTS)
    return reader.query(query.sql, query.parameters)


def _read_texts(reader: Reader) -> pa.Table:
    reader.register("odd_numbers", pa.table({"number": list(range(len(ODD_NUMBERS))), "value": ODD_NUMBERS}))
    return reader.query(f"SELECT number, {read_number('value')} AS found FROM odd_numbers ORDER BY number")


def _make_tags() -> pa.Table:
    """Tags of everybody but one, and of one who has no row of customers."""
    customers = [*CUSTOMERS[1:], "gone"]
    numbers = range(len(customers))
    words = (None, "", "o'brien", "茶", "back\\slash", "other")
    spends = (None, -1.5, 0.0, 0.5, 2.0)
    days = (
        *(None, date(2024, 2, 28), date(2024, 2, 29), date(1970, 1, 1), date(1899, 12, 31)),
        *(date(1, 1, 1), date(1582, 10, 10), date(9999, 12, 31)),
    )
    return pa.table(
        {
            "customer_id": pa.array(customers),
            "age": pa.array([None if n % 7 == 0 else n % 5 - 1 for n in numbers], pa.int64()),
            "spend": pa.array([spends[n % 5] for n in numbers], pa.float64()),
            "word": pa.array([words[n % 6] for n in numbers], pa.string()),
            "vip": pa.array([(None, True, False)[n % 3] for n in numbers], pa.bool_()),
            "born": pa.array([days[n % len(days)] for n in numbers], pa.date32()),
        }
    )
