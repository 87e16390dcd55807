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

from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.data.dates import PLACEHOLDER_DAYS, DatePlan, Order, plan_dates
from aimwell.data.expressions import (
    CHANNEL_NAMES,
    KIND_NAMES,
    PURPOSE_NAMES,
    fold_id,
    locate_instant,
    parse_boolean,
    parse_instant,
    parse_number,
    parse_offset,
    translate_names,
)
from aimwell.data.mapping import OWN_COLUMNS, ROW, Mapping, Match, check_table
from aimwell.data.scratch import Scratch, literal
from aimwell.data.sources import Source
from aimwell.data.synonyms import VOCABULARY, Field, Kind, fold_header
from aimwell.data.vocabulary import tell_vocabulary, translate_codes

LATER = -1
NEVER = "TIMESTAMP '9999-01-01'"
_NEEDED_WHEN_MAPPED = ("order_id", "quantity", "unit_price", "revenue")
_ENDLESS = (
    "长期",
    "长期有效",
    "永久",
    "永久有效",
    "永远",
    "无限期",
    "无期限",
    "不限",
    "不限期",
    "forever",
    "unlimited",
    "indefinite",
    "permanent",
    "never",
    "no expiry",
)
"""What people write in place of a day until which something holds when it has no end."""


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
    fields = [f for f in check_table(mapping.table) if mapping.has(f.name) and f.name != VOCABULARY]
    dates = {
        field.name: plan_dates(
            scratch,
            _read_end(source.read(match.column), field),
            source.staged(match.column),
            match.column,
            file=source.file,
            order=order,
        )
        for field in fields
        if field.kind is Kind.INSTANT and (match := mapping.get(field.name)) and match.column
    }
    commas = _find_commas(scratch, source, mapping, fields)
    conditions = list(_list_conditions(fields, mapping))
    scratch.execute(
        _compose(
            source, mapping, fields, dates, commas, [condition for condition, _ in conditions], clock.zone
        ),
        {"zone": clock.zone, "limit": clock.limit, "until": clock.until, "source": name},
    )
    notices = [*source.notices]
    notices += [told for plan in dates.values() if (told := plan.tell())]
    notices += _tell_backwards(scratch, mapping)
    if (vocabulary := _speaks(mapping)) is not None:
        notices.append(tell_vocabulary(vocabulary))
    if mapping.unused and mapping.table not in ("customers", "events"):
        notices.append(say("Columns that were not used: {columns}.", columns=join_list(mapping.unused)))
    return Parsed(source, mapping, name, tuple(rule for _, rule in conditions), dates, tuple(notices))


def _compose(
    source: Source,
    mapping: Mapping,
    fields: list[Field],
    dates: dict[str, DatePlan],
    commas: set[str],
    conditions: list[str],
    zone: str,
) -> str:
    texts = [f"{_read_text(source, mapping, field)} AS {field.name}_text" for field in fields]
    typed = [column for field in fields for column in _type_field(field, dates.get(field.name), commas, zone)]
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
    if mapping.table == "signals":
        return {"asks_recommendation": f"coalesce({_asks_recommendation(mapping) or 'false'}, false)"}
    return {}


def _speaks(mapping: Mapping) -> str | None:
    """The vocabulary by whose codes the events are named."""
    match = mapping.get(VOCABULARY)
    return match.constant if match else None


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
    vocabulary = _speaks(mapping)
    if field.name == "name" and match.column and vocabulary is not None:
        return translate_codes(f"({text})", vocabulary)
    if field.name == "customer_id" and match.column:
        return fold_id(f"({text})")
    clock = mapping.get("ordered_time")
    if field.name == "ordered_at" and clock is not None and clock.column is not None:
        time = source.read(clock.column)
        return f"CASE WHEN {time} IS NULL THEN {text} ELSE {text} || ' ' || {time} END"
    return _read_end(text, field)


def _read_end(text: str, field: Field) -> str:
    """``text``, and of the field ``until`` nothing where it says that there is no end."""
    if field.name != "until":
        return text
    return f"CASE WHEN lower({text}) IN ({', '.join(map(literal, _ENDLESS))}) THEN NULL ELSE {text} END"


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
            day_first, plain = plan is not None and plan.day_first, plan is not None and plan.plain
            local = parse_instant(text, day_first=day_first, plain=plain)
            if field.name == "until" and plan is not None and not plan.timed:
                # What is valid until a day is valid on that day.
                local += " + INTERVAL 1 DAY"
            columns.append(f"{local} AS {field.name}_clock")
    return ", ".join(columns) or "1 AS nothing_to_locate"


def _type_field(field: Field, plan: DatePlan | None, commas: set[str], zone: str) -> list[str]:
    name, text = field.name, f"{field.name}_text"
    if field.kind is Kind.INSTANT:
        zoned = plan is None or plan.zoned
        local = f"coalesce(timezone($zone, {name}_offset), {name}_clock)" if zoned else f"{name}_clock"
        instant = locate_instant(f"{name}_clock", zone)
        return [
            f"coalesce({name}_offset, {instant}) AS {name}" if zoned else f"{instant} AS {name}",
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
            if field.required:
                yield _is_placeholder(f"{name}_local"), Rule("placeholder_date", name)
            sane = f"{name}_local >= TIMESTAMP '1900-01-01'"
            sane += "" if name == "until" else f" AND {name}_local < {NEVER}"
            yield (
                f"{name}_text IS NOT NULL AND ({name}_local IS NULL OR NOT ({sane}))",
                Rule("bad_date", name),
            )
            if name != "until":
                yield f"{name} >= CAST($limit AS TIMESTAMPTZ)", Rule("from_future", name)
        elif field.kind is Kind.NUMBER:
            yield f"{name}_text IS NOT NULL AND {name} IS NULL", Rule("bad_number", name)
            if mapping.table == "signals" and name == "score" and (asked := _asks_recommendation(mapping)):
                yield f"({asked}) AND ({name} < 0 OR {name} > 10)", Rule("bad_recommendation", name)
        elif field.kind is Kind.BOOLEAN:
            yield f"{name}_text IS NOT NULL AND {name} IS NULL", Rule("bad_boolean", name)
        elif mapping.table == "consents" and name == "channel":
            known = translate_names(f"{name}_text", CHANNEL_NAMES)
            yield f"{known} IS NULL", Rule("unknown_channel", name)
        elif name == "purpose":
            yield f"{name}_text IS NOT NULL AND {name} IS NULL", Rule("unknown_purpose", name)


def _is_placeholder(local: str) -> str:
    """Whether ``local`` is a day that stands for none; nearly every row is told by its first comparison."""
    days = ", ".join(f"DATE '{day.isoformat()}'" for day in PLACEHOLDER_DAYS)
    odd = f"{local} < TIMESTAMP '1970-01-02' OR {local} >= {NEVER}"
    return f"({odd}) AND CAST({local} AS DATE) IN ({days})"


def _asks_recommendation(mapping: Mapping) -> str | None:
    """The SQL of whether a row answers the NPS question, which has 0 to 10; None where no row can."""
    matches = {name: match for name in ("score", "name", "kind") if (match := mapping.get(name))}
    # A header says it for all rows, but for that of the kind: what is of which kind stands below it.
    said = [
        match.constant if name == "kind" else match.column or match.constant
        for name, match in matches.items()
    ]
    if any("nps" in fold_header(word or "") or "推荐" in (word or "") for word in said):
        return "true"
    tests = [
        f"contains(lower({name}_text), 'nps') OR contains({name}_text, '推荐')"
        for name in ("name", "kind")
        if name in matches and matches[name].column
    ]
    return " OR ".join(tests) or None


def _find_commas(scratch: Scratch, source: Source, mapping: Mapping, fields: list[Field]) -> set[str]:
    """The fields whose column writes numbers as '1.234,56': some value needs it and none contradicts it."""
    texts = {
        field.name: source.staged(match.column)
        for field in fields
        if field.kind is Kind.NUMBER and (match := mapping.get(field.name)) and match.column
    }
    if not texts:
        return set()
    sums = ", ".join(
        f"{_count_matches(text, form)} AS {name}_{kind}"
        for name, text in texts.items()
        for kind, form in (("comma", r"\d,\d{1,2}$|\d\.\d{3},\d"), ("point", r"\d,\d{3}\.|\d,\d{3}$"))
    )
    found = scratch.rows(f"SELECT {sums} FROM raw")[0]
    return {name for name in texts if found[f"{name}_comma"] and not found[f"{name}_point"]}


def _count_matches(text: str, form: str) -> str:
    # Few numbers have a comma at all: the pattern is for those.
    return (
        f"coalesce(sum(CASE WHEN contains({text}, ',') THEN CASE WHEN regexp_matches({text}, '{form}') "
        "THEN 1 ELSE 0 END ELSE 0 END), 0)"
    )
