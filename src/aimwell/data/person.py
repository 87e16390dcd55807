"""Who one person is in a workspace: the records, and the values by which the person can be told in other rows.

A value is *distinctive* when it is long enough and no other customer has it: a phone that a family shares tells nobody.
Numbers that are nothing but digits may stand for anything, so that they are looked for only under a name that says
person (``customer_id``, 会员号…). Reads every table that names customers; writes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.ids import list_forms
from aimwell.core.table import Table, Type
from aimwell.core.tables import ALL_TABLES, CUSTOMERS
from aimwell.core.text import say
from aimwell.data.findings import ask
from aimwell.data.scratch import quote
from aimwell.data.segment_events import ANONYMOUS
from aimwell.engine.erased import normalise_contact
from aimwell.engine.session import Queryable
from aimwell.engine.views import name_stored

PERSON_COLUMNS = ("customer_id", "record_id", "left_record", "right_record")
"""Columns that hold a customer or record id, in whatever table."""
_PERSONAL = re.compile(
    r"mail|phone|mobile|address|open_?id|union_?id|wechat|weixin|passport|id_?card|identity_?(no|number)|\bssn\b"
    r"|device_?id|member_?(id|no|number)|^(full_?|customer_?|user_?|nick_?)?name$"
    r"|邮箱|邮件|电话|手机|地址|姓名|名字|昵称|微信|身份证|证件号|护照|会员号|会员编号|账号",
    re.IGNORECASE,
)
# In what customers do, most names are of things: only what can be nothing but a person's is looked for.
_PERSONAL_IN_EVENTS = re.compile(
    r"mail|phone|mobile|open_?id|union_?id|id_?card|passport|邮箱|电话|手机|微信|身份证", re.IGNORECASE
)
PERSON_KEYS = (
    "customer|user|member|client|account|person|record|household|referr|invit|friend|parent|openid|anonymous"
    "|客户|会员|用户|顾客|账号|推荐|邀请|好友"
)
"""Names of fields in which a bare number means a person, as a regular expression."""
_SHORTEST = 6
_TELLING = 8
_DAY = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.*")
_CJK = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True)
class Person:
    """One person: the customer, all records, and distinctive values. ``contacts`` are e-mails and phones by kind."""

    customer_id: str
    records: tuple[str, ...]
    values: tuple[str, ...]
    contacts: tuple[tuple[str, str], ...] = ()
    keys: tuple[str, ...] = ()
    """What sources call the column of the customer's number."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "customer_id": self.customer_id,
            "records": list(self.records),
            "values": list(self.values),
            "contacts": [list(contact) for contact in self.contacts],
            "keys": list(self.keys),
        }

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> Person:
        """The person of ``to_dict``."""
        contacts = tuple((kind, value) for kind, value in packed["contacts"])
        return cls(
            packed["customer_id"],
            tuple(packed["records"]),
            tuple(packed["values"]),
            contacts,
            tuple(packed["keys"]),
        )


def read_person(reader: Queryable, customer_id: str) -> Person:
    """The person behind a customer or record number; BadInput when no table knows it."""
    found = ((form, records) for form in list_forms(customer_id) if (records := _find_known(reader, form)))
    known, records = next(found, (None, []))
    if known is None:
        raise BadInput(
            "data.unknown_customer",
            say("There is no customer '{customer}'.", customer=customer_id),
            remedy=say("Check the number; leading zeros and letters count."),
            where={"value": customer_id},
        )
    bound, listed = bind_records(records)
    customer = ask(
        reader, f"SELECT min(customer_id) AS id FROM identities WHERE record_id IN ({listed})", bound
    )
    contacts, values = _read_values(reader, bound, listed)
    distinctive = [value for value in values if is_long_enough(value)]
    shared = _find_shared(reader, bound, listed, distinctive)
    return Person(
        customer[0]["id"] or known,
        tuple(records),
        tuple(sorted({form for value in distinctive if value not in shared for form in _spell(value)})),
        tuple(sorted(contacts)),
        tuple(sorted(_read_keys(reader))),
    )


def bind_records(records: Iterable[str]) -> tuple[dict[str, str], str]:
    """The records as bound values, and the list of their placeholders."""
    bound = {f"record_{number}": record for number, record in enumerate(records)}
    return bound, ", ".join(f"${name}" for name in bound)


def build_patterns(person: Person) -> list[tuple[str, str]]:
    """Regular expressions (RE2 and Python alike) of what names the person in a text, and what to put in its place.

    Each has three groups, of which the second is the value. Words stand between boundaries; bare numbers do when they
    are as long as a phone number, or stand under a name that says person. A number becomes 0, so that JSON stays JSON.
    """
    numbers = {value for value in (*person.records, *person.values) if value.isdigit()}
    words = {value for value in (*person.records, *person.values) if is_long_enough(value)} - numbers
    quoted = {f'"{record}"' for record in person.records if record not in words | numbers}
    told = {value for value in numbers if len(value) >= _TELLING and value not in person.records}
    keys = "|".join([PERSON_KEYS, *(re.escape(key) for key in person.keys)])
    patterns = [
        (numbers, rf'(?i)("[^"]*(?:{keys})[^"]*"\s*:\s*"?)({_join(numbers)})("?\s*[,}}\]])', r"\g<1>0\3"),
        (told, rf"(?i)(^|[^0-9a-z])({_join(told)})($|[^0-9a-z])", r"\g<1>0\3"),
        (words, rf"(?i)(^|[^0-9a-z])({_join(words)})($|[^0-9a-z])", r"\g<1>[erased]\3"),
        (quoted, rf"(?i)(^|[^0-9a-z])({_join(quoted)})($|[^0-9a-z])", r'\g<1>"[erased]"\3'),
    ]
    return [(pattern, put) for values, pattern, put in patterns if values]


def _join(values: Iterable[str]) -> str:
    return "|".join(re.escape(value) for value in sorted(values))


def list_person_columns(table: Table) -> list[str]:
    """The columns of ``table`` in which a customer or record stands."""
    return [column.name for column in table.columns if column.name in PERSON_COLUMNS]


def list_text_columns(table: Table, schema: pa.Schema) -> list[str]:
    """Columns in which anything may be written: JSON, words, and texts that sources delivered besides."""
    declared = {column.name: column for column in table.columns}
    free = {"value", "text", "file", "sql", "rule", "name"} - (
        {"name"} if table.name != "customers" else set()
    )
    return [
        field.name
        for field in schema
        if (field.name not in declared and pa.types.is_string(field.type))
        or (field.name in declared and declared[field.name].type in (Type.JSON, Type.MESSAGE))
        or field.name in free
    ]


def names_person(column: str) -> bool:
    """Whether a bare number in a column of this name means a person."""
    return re.search(PERSON_KEYS, column, re.IGNORECASE) is not None


def is_long_enough(value: str) -> bool:
    """Whether the value can tell a person at all: six characters, or two Chinese ones; no day, no short number."""
    if _DAY.fullmatch(value) or (value.isdigit() and len(value) < _SHORTEST):
        return False
    return len(value) >= _SHORTEST or len(_CJK.findall(value)) >= 2


def _find_known(reader: Queryable, customer_id: str) -> list[str]:
    """The person's records; none when no table knows one of them."""
    records = _find_records(reader, customer_id)
    bound, listed = bind_records(records)
    named = ((table, _name_person(table, listed)) for table in ALL_TABLES)
    is_known = any(
        ask(reader, f"SELECT 1 AS found FROM {name_stored(table.name)} WHERE {who} LIMIT 1", bound)
        for table, who in named
        if who
    )
    return records if is_known else []


def _find_records(reader: Queryable, customer_id: str) -> list[str]:
    rows = ask(
        reader,
        """
        SELECT record_id, customer_id FROM identities WHERE customer_id = $id
            OR customer_id IN (SELECT customer_id FROM identities WHERE record_id = $id)
        """,
        {"id": customer_id},
    )
    found = {customer_id, *(row["record_id"] for row in rows), *(row["customer_id"] for row in rows)}
    return sorted(found | _find_visits(reader, sorted(found)))


def _find_visits(reader: Queryable, records: list[str]) -> set[str]:
    """The records of the visitor that the person was before signing in, by cookies that nobody else signed in with."""
    bound, listed = bind_records(records)
    sql = f"""
        SELECT DISTINCT $prefix || i.value AS record FROM identifiers AS i
        WHERE i.kind = 'anonymous' AND i.record_id IN ({listed}) AND NOT EXISTS (
            SELECT 1 FROM identifiers AS o
            WHERE o.kind = 'anonymous' AND o.value = i.value
                AND o.record_id NOT IN ({listed}) AND o.record_id <> $prefix || o.value
        )
        """
    return {row["record"] for row in ask(reader, sql, {**bound, "prefix": ANONYMOUS})}


def _name_person(table: Table, listed: str) -> str:
    """The condition on rows of the person; empty where the table names nobody."""
    return " OR ".join(f"{name} IN ({listed})" for name in list_person_columns(table))


def _read_values(
    reader: Queryable, bound: dict[str, str], listed: str
) -> tuple[set[tuple[str, str]], set[str]]:
    """(e-mails and phones by kind, every value that names the person)."""
    contacts: set[tuple[str, str]] = set()
    values: set[str] = set(bound.values())
    sql = f"SELECT * FROM delivered_customers WHERE customer_id IN ({listed})"
    for row in ask(reader, sql, bound):
        contacts |= {(kind, row[kind]) for kind in ("email", "phone") if row.get(kind)}
        values |= {str(value) for name, value in row.items() if value and _PERSONAL.search(name)}
    sql = f"SELECT kind, value FROM identifiers WHERE record_id IN ({listed})"
    for row in ask(reader, sql, bound):
        contacts |= {(row["kind"], row["value"])} if row["kind"] in ("email", "phone") else set()
        values.add(row["value"])
    sql = f"SELECT DISTINCT properties FROM delivered_events WHERE customer_id IN ({listed}) LIMIT 20000"
    for row in ask(reader, sql, bound):
        values |= set(_read_properties(row["properties"]))
    return contacts, values


def _read_properties(packed: str | None) -> Iterable[str]:
    try:
        found = json.loads(packed) if packed else {}
    except ValueError:
        return
    stack: list[tuple[str, Any]] = [("", found)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack += value.items()
        elif isinstance(value, list):
            stack += [(name, item) for item in value]
        elif isinstance(value, str) and _PERSONAL_IN_EVENTS.search(name):
            yield value


def _read_keys(reader: Queryable) -> set[str]:
    mappings = [
        json.loads(row["reading"]).get("mapping") or {} for row in ask(reader, "SELECT reading FROM sources")
    ]
    return {str(mapping["customer_id"]) for mapping in mappings if mapping.get("customer_id")}


def _find_shared(reader: Queryable, bound: dict[str, str], listed: str, values: list[str]) -> set[str]:
    """Those of ``values`` that another customer has, too."""
    if not values:
        return set()
    columns = [
        name
        for name in reader.query("SELECT * FROM delivered_customers LIMIT 0").column_names
        if name in CUSTOMERS_TEXT or name not in {column.name for column in CUSTOMERS.columns}
    ]
    known = {**bound, **{f"value_{number}": value for number, value in enumerate(values)}}
    wanted = ", ".join(f"${name}" for name in known if name.startswith("value_"))
    parts = [
        f"SELECT CAST({quote(name)} AS VARCHAR) AS value FROM delivered_customers"
        f" WHERE customer_id NOT IN ({listed}) AND CAST({quote(name)} AS VARCHAR) IN ({wanted})"
        for name in columns
    ]
    parts.append(f"SELECT value FROM identifiers WHERE record_id NOT IN ({listed}) AND value IN ({wanted})")
    return {row["value"] for row in ask(reader, " UNION ".join(parts), known)}


CUSTOMERS_TEXT = ("email", "phone", "address")


def _spell(value: str) -> set[str]:
    """The forms in which a value may stand elsewhere: as given, in its normal form, escaped as in JSON."""
    forms = {value, normalise_contact(value), value.replace(" ", ""), value.casefold()}
    forms |= {re.sub(r"[\s().\-/]", "", value)} if re.fullmatch(r"[+(]?[0-9][-0-9 ().]+", value) else set()
    forms |= {json.dumps(form)[1:-1] for form in forms}
    forms |= {json.dumps(form, ensure_ascii=False)[1:-1] for form in forms}
    return {form for form in forms if is_long_enough(form)}
