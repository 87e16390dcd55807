"""Staged text → typed rows, each accepted, at fault, or (beyond ``until``) left for later.

Reads the staged table ``raw``; writes the scratch table ``parsed``: ``row_number``, one column per mapped
field (an instant ``x`` has ``x_local`` beside it), ``raw_key`` (hash of the whole row of an order file), what the
table keeps of other columns (``properties`` of events, ``extra_0``… of customers) and ``rule``: NULL when accepted,
-1 when left for later, else the index of the rule that it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from aimwell.core.text import Text, say
from aimwell.data.dates import DatePlan, Order, plan_dates
from aimwell.data.expressions import (
    CHANNEL_NAMES,
    KIND_NAMES,
    PURPOSE_NAMES,
    parse_boolean,
    parse_instant,
    parse_number,
    parse_offset,
    translate_names,
)
from aimwell.data.mapping import OWN_COLUMNS, ROW, Mapping, Match, check_table
from aimwell.data.scratch import Scratch, literal
from aimwell.data.sources import Source
from aimwell.data.synonyms import Field, Kind

LATER = -1
_NEEDED_WHEN_MAPPED = ("order_id", "quantity", "unit_price", "revenue")


@dataclass(frozen=True)
class Rule:
    """Why a row is rejected: a stable reason and the field at fault (empty for the whole row)."""

    reason: str
    field: str


@dataclass(frozen=True)
class Clock:
    """The business's ``zone``; rows at or after ``limit`` come from the future; rows on or after ``until`` wait."""

    zone: str
    limit: datetime
    until: date | None = None


@dataclass(frozen=True)
class Parsed:
    """What ``parse_rows`` decided. ``rules`` are those that ``parsed.rule`` counts."""

    source: Source
    mapping: Mapping
    name: str
    rules: tuple[Rule, ...]
    dates: dict[str, DatePlan]
    notices: tuple[Text, ...]


def parse_rows(
    scratch: Scratch, source: Source, mapping: Mapping, *, name: str, clock: Clock, order: Order | None = None
) -> Parsed:
    """Fill ``parsed`` from ``raw``; BadInput when the order of day and month cannot be told."""
    fields = [field for field in check_table(mapping.table) if mapping.has(field.name)]
    dates = {
        field.name: plan_dates(
            scratch,
            source.read(match.column),
            source.staged(match.column),
            match.column,
            file=source.file,
            order=order,
        )
        for field in fields
        if field.kind is Kind.INSTANT and (match := mapping.get(field.name)) and match.column
    }
    commas = {
        field.name
        for field in fields
        if field.kind is Kind.NUMBER and _uses_comma(scratch, source, mapping, field)
    }
    conditions = list(_list_conditions(fields, mapping))
    scratch.execute(
        _compose(source, mapping, fields, dates, commas, [condition for condition, _ in conditions]),
        {"zone": clock.zone, "limit": clock.limit, "until": clock.until, "source": name},
    )
    notices = [*source.notices]
    notices += [told for plan in dates.values() if (told := plan.tell())]
    notices += _tell_backwards(scratch, mapping)
    if mapping.unused and mapping.table not in ("customers", "events"):
        notices.append(say("Columns that were not used: {columns}.", columns=", ".join(mapping.unused)))
    return Parsed(source, mapping, name, tuple(rule for _, rule in conditions), dates, tuple(notices))


def _compose(
    source: Source,
    mapping: Mapping,
    fields: list[Field],
    dates: dict[str, DatePlan],
    commas: set[str],
    conditions: list[str],
) -> str:
    texts = [f"{_read_text(source, mapping, field)} AS {field.name}_text" for field in fields]
    typed = [column for field in fields for column in _type_field(field, dates.get(field.name), commas)]
    own = [f"c{position}" for position, column in enumerate(source.columns) if column not in OWN_COLUMNS]
    # Only order files are searched for rows that stand twice as a whole.
    digest = f"hash({', '.join(own)})" if mapping.table == "order_lines" else "0"
    extras = _keep_others(source, mapping)
    branches = " ".join(f"WHEN {condition} THEN {index}" for index, condition in enumerate(conditions))
    moment = next((field.name for field in fields if field.kind is Kind.INSTANT), None)
    later = f"WHEN CAST({moment}_local AS DATE) >= CAST($until AS DATE) THEN {LATER}" if moment else ""
    kept = ", ".join([column.rsplit(" AS ", 1)[1] for column in typed] + list(extras))
    others = "".join(f", {value} AS {column}" for column, value in extras.items())
    return f"""
        CREATE OR REPLACE TABLE parsed AS
        WITH bound AS (
            SELECT $zone AS zone, $limit AS instant_limit, $until AS until_day, $source AS source_name
        ),
        cleaned AS (SELECT row_number, {digest} AS raw_key, {", ".join(texts)}{others} FROM raw),
        located AS (SELECT *, {_locate(fields, dates)} FROM cleaned),
        typed AS (SELECT *, {", ".join(typed)} FROM located)
        SELECT row_number, raw_key, {kept},
            CAST(CASE {later} {branches} ELSE NULL END AS INTEGER) AS rule
        FROM typed
    """


def _keep_others(source: Source, mapping: Mapping) -> dict[str, str]:
    """What the table keeps of columns that feed no field, as column → SQL."""
    if mapping.table == "customers":
        return {f"extra_{place}": source.read(column) for place, column in enumerate(mapping.unused)}
    if mapping.table == "events":
        pairs = ", ".join(f"{literal(column)}, {source.read(column)}" for column in mapping.unused)
        return {"properties": f"CAST(json_object({pairs}) AS VARCHAR)" if pairs else "CAST(NULL AS VARCHAR)"}
    return {}


def _tell_backwards(scratch: Scratch, mapping: Mapping) -> list[Text]:
    """Events that arrived before they happened: the clock of the device or of the server is wrong."""
    if not (mapping.has("occurred_at") and mapping.has("received_at")):
        return []
    found = scratch.rows(
        """
        SELECT count(*) AS rows, min(row_number) AS first FROM parsed
        WHERE rule IS NULL AND received_at < occurred_at
        """
    )[0]
    if not found["rows"]:
        return []
    return [
        say(
            "{count} events were received before they happened, the first in row {row}: a clock goes wrong. "
            "They are kept with the time of the source.",
            count=found["rows"],
            row=found["first"],
        )
    ]


def _read_text(source: Source, mapping: Mapping, field: Field) -> str:
    match = mapping.get(field.name)
    assert match is not None
    text = _text_of(source, match)
    clock = mapping.get("ordered_time")
    if field.name == "ordered_at" and clock is not None and clock.column is not None:
        time = source.read(clock.column)
        return f"CASE WHEN {time} IS NULL THEN {text} ELSE {text} || ' ' || {time} END"
    return text


def _text_of(source: Source, match: Match) -> str:
    if match.constant == ROW:
        return "$source || ':' || row_number"
    if match.column is None:
        return literal(match.constant or "")
    return source.read(match.column)


def _locate(fields: list[Field], dates: dict[str, DatePlan]) -> str:
    """Instants are found once and used three times, so they get a stage of their own."""
    columns = []
    for field in fields:
        if field.kind is Kind.INSTANT:
            text, plan = f"{field.name}_text", dates.get(field.name)
            offset = parse_offset(text) if plan is None or plan.zoned else "CAST(NULL AS TIMESTAMPTZ)"
            columns.append(f"{offset} AS {field.name}_offset")
            local = parse_instant(text, day_first=plan is not None and plan.day_first)
            columns.append(f"{local} AS {field.name}_clock")
    return ", ".join(columns) or "1 AS nothing_to_locate"


def _type_field(field: Field, plan: DatePlan | None, commas: set[str]) -> list[str]:
    name, text = field.name, f"{field.name}_text"
    if field.kind is Kind.INSTANT:
        zoned = plan is None or plan.zoned
        local = f"coalesce(timezone($zone, {name}_offset), {name}_clock)" if zoned else f"{name}_clock"
        return [
            f"coalesce({name}_offset, timezone($zone, {name}_clock)) AS {name}",
            f"{local} AS {name}_local",
        ]
    values = {
        Kind.NUMBER: parse_number(text, decimal_comma=name in commas),
        Kind.BOOLEAN: parse_boolean(text),
    }
    if name == "purpose":
        return [f"{translate_names(text, PURPOSE_NAMES)} AS {name}"]
    if name == "kind":
        return [f"{translate_names(text, KIND_NAMES)} AS {name}"]
    value = values.get(field.kind, text)
    return [f"{value} AS {name}"]


def _list_conditions(fields: list[Field], mapping: Mapping) -> Iterator[tuple[str, Rule]]:
    """Conditions over ``typed``; the first that holds rejects the row."""
    for field in fields:
        name = field.name
        needed = field.required or (mapping.table == "order_lines" and name in _NEEDED_WHEN_MAPPED)
        if needed:
            reason = "no_customer" if name == "customer_id" else "missing_value"
            yield f"{name}_text IS NULL", Rule(reason, name)
    for field in fields:
        name = field.name
        if field.kind is Kind.INSTANT:
            sane = f"{name}_local >= TIMESTAMP '1900-01-01' AND {name}_local < TIMESTAMP '9999-01-01'"
            yield (
                f"{name}_text IS NOT NULL AND ({name}_local IS NULL OR NOT ({sane}))",
                Rule("bad_date", name),
            )
            if name != "until":
                yield f"{name} >= CAST($limit AS TIMESTAMPTZ)", Rule("from_future", name)
        elif field.kind is Kind.NUMBER:
            yield f"{name}_text IS NOT NULL AND {name} IS NULL", Rule("bad_number", name)
        elif field.kind is Kind.BOOLEAN:
            yield f"{name}_text IS NOT NULL AND {name} IS NULL", Rule("bad_boolean", name)
        elif mapping.table == "consents" and name == "channel":
            known = translate_names(f"{name}_text", CHANNEL_NAMES)
            yield f"{known} IS NULL", Rule("unknown_channel", name)
        elif name == "purpose":
            yield f"{name}_text IS NOT NULL AND {name} IS NULL", Rule("unknown_purpose", name)


def _uses_comma(scratch: Scratch, source: Source, mapping: Mapping, field: Field) -> bool:
    """Whether '1.234,56' is how this column writes numbers: some value needs it and none contradicts it."""
    match = mapping.get(field.name)
    if match is None or match.column is None:
        return False
    text = source.staged(match.column)
    found = scratch.rows(
        rf"""
        SELECT
            coalesce(sum(CASE WHEN regexp_matches({text}, '\d,\d{{1,2}}$|\d\.\d{{3}},\d') THEN 1 ELSE 0
            END), 0) AS comma,
            coalesce(sum(CASE WHEN regexp_matches({text}, '\d,\d{{3}}\.|\d,\d{{3}}$') THEN 1 ELSE 0 END), 0) AS point
        FROM raw WHERE {text} LIKE '%,%'
        """
    )[0]
    return bool(found["comma"]) and not found["point"]
