"""Which column of a source is which field of a table: proposed from header and values, settled by the user.

Reads headers and profiles; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping as Choices
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.data.profile import Profile
from aimwell.data.synonyms import FIELDS, VOCABULARY, Field, Kind, fold_header, score_header
from aimwell.data.vocabulary import check_vocabulary, find_vocabulary, tell_vocabulary

ACCEPTED = 0.5
_SAME = 0.02
ROW = "#row"
"""Instead of a column: every row is a customer of its own, called by the row's number."""
ROW_NAMES = frozenset({"id", "uniqueid", "recid", "recordid"})
"""Headers that name the row, whatever a row is."""
OWN_COLUMNS = ("aimwell_reject", "aimwell_column", "aimwell_reason", "aimwell_line")
"""Columns that ``data rejects --out`` adds; they are not the source's."""


@dataclass(frozen=True)
class Match:
    """A field and where its values come from: ``column``, or the same ``constant`` for every row."""

    field: str
    column: str | None
    constant: str | None
    confidence: float
    reason: Text


@dataclass(frozen=True)
class Confirmed:
    """What was confirmed for a source: its header, and field → column, ``=constant``, ``#row`` or empty."""

    table: str
    columns: tuple[str, ...]
    choices: Choices[str, str]


@dataclass(frozen=True)
class Mapping:
    """A proposal, or what was decided, for one file and table; ``unused`` columns feed no field."""

    table: str
    file: str
    matches: tuple[Match, ...]
    unused: tuple[str, ...]
    asked: tuple[str, ...] | None = None
    """Fields to be confirmed where the rest was confirmed before; None: everything is new."""

    def get(self, field: str) -> Match | None:
        """The match of ``field``, or None."""
        return next((match for match in self.matches if match.field == field), None)

    def has(self, field: str) -> bool:
        """Whether ``field`` is delivered."""
        return self.get(field) is not None

    def to_dict(self) -> dict[str, Any]:
        """For JSON and the screens."""
        return {
            "table": self.table,
            "file": self.file,
            "unused": list(self.unused),
            "asked": None if self.asked is None else list(self.asked),
            "matches": [
                {
                    "field": match.field,
                    "title": name_field(match.field).both(),
                    "column": match.column,
                    "constant": match.constant,
                    "confidence": match.confidence,
                    "reason": match.reason.both(),
                }
                for match in self.matches
            ],
        }


def check_table(table: str) -> tuple[Field, ...]:
    """The fields of ``table``; BadInput when no file can feed it."""
    if table not in FIELDS:
        raise BadInput(
            "data.unknown_table",
            say("A file cannot be added as '{table}'.", table=table),
            remedy=say("Use --as with one of: {tables}.", tables=join_list(FIELDS)),
            where={"value": table},
        )
    return FIELDS[table]


def propose_mapping(
    table: str,
    file: str,
    profiles: dict[str, Profile],
    *,
    chosen: Choices[str, str] | None = None,
    confirmed: Confirmed | None = None,
    given: bool = True,
) -> Mapping:
    """The best mapping of the profiled columns to the fields of ``table``.

    ``chosen`` settles fields: a column's name, ``=text`` for a constant, ``#row``, or empty for none. ``confirmed``:
    what was confirmed for this source before, which is not asked again. ``given``: a person named the table. Raises
    BadInput ``data.missing_column`` or ``data.ambiguous_column``, naming the candidates and the remedy.
    """
    fields = check_table(table)
    kept = _keep_confirmed(confirmed, profiles, chosen or {})
    settled = {
        match.field: match
        for match in (
            *(_settle(fields, profiles, name, value, before=True) for name, value in kept.items()),
            *(_settle(fields, profiles, name, value) for name, value in (chosen or {}).items()),
        )
    }
    taken = {match.column for match in settled.values() if match.column}
    open_fields = [field for field in fields if field.name not in settled]
    known = frozenset(confirmed.columns) if confirmed else frozenset()
    columns = [
        column
        for column in profiles
        if column not in taken and column not in OWN_COLUMNS and column not in known
    ]
    matches = settled | match_columns(table, open_fields, columns, profiles)
    if VOCABULARY in settled:
        check_vocabulary(settled[VOCABULARY].constant or settled[VOCABULARY].column)
    elif (
        table == "events"
        and confirmed is None
        and (spoken := _propose_vocabulary(matches.get("name"), profiles))
    ):
        # What was confirmed without it stays as it is: other names would be other events.
        matches[VOCABULARY] = spoken
    scores = _score_all(table, open_fields, columns, profiles)
    free = [column for column in columns if column not in {match.column for match in matches.values()}]
    missing = _Missing(table, file, free, scores, given)
    for field in open_fields:
        _check_field(field, matches.get(field.name), missing)
    if table == "signals" and not {"score", "text"} & {
        name for name, match in matches.items() if _is_set(match)
    }:
        raise missing.refuse(next(field for field in fields if field.name == "score"))
    used = {match.column for match in matches.values()}
    return Mapping(
        table,
        file,
        tuple(
            matches[field.name] for field in fields if field.name in matches and _is_set(matches[field.name])
        ),
        tuple(column for column in profiles if column not in used and column not in OWN_COLUMNS),
        None if confirmed is None else tuple(name for name in matches if name not in settled),
    )


def match_columns(
    table: str, fields: Sequence[Field], columns: list[str], profiles: dict[str, Profile]
) -> dict[str, Match]:
    """The best column of each field, without asking whether that is enough."""
    matches = _assign(fields, columns, _score_all(table, fields, columns, profiles))
    _add_lone_date(fields, profiles, columns, matches)
    return matches


def _score_all(
    table: str, fields: Sequence[Field], columns: list[str], profiles: dict[str, Profile]
) -> dict[tuple[str, str], float]:
    return {
        (field.name, column): _score(table, field, profiles[column]) for field in fields for column in columns
    }


def _keep_confirmed(
    confirmed: Confirmed | None, profiles: dict[str, Profile], chosen: Choices[str, str]
) -> dict[str, str]:
    """What still holds of an earlier confirmation: fields whose column is still there, and constants."""
    if confirmed is None:
        return {}
    there = {column.casefold() for column in profiles}
    said = {value.casefold() for value in chosen.values()}
    return {
        name: value
        for name, value in confirmed.choices.items()
        if name not in chosen
        and value.casefold() not in said
        and (value in ("", ROW) or value.startswith("=") or value.casefold() in there)
    }


def _is_set(match: Match) -> bool:
    return match.column is not None or match.constant is not None


def _score(table: str, field: Field, profile: Profile) -> float:
    score = score_header(field, profile.column)
    if score and field.kind is Kind.CLOCK:
        return score + 0.04 if profile.clocks > 0.9 else 0.0
    if score and profile.fits(field.kind) < 0.5:
        # A column with the very name but hardly a fitting value is still meant: its rows become rejects.
        score *= 0.65 if score >= 0.8 else 0.3
    if field.name == "customer_id" and fold_header(profile.column) in ROW_NAMES and profile.unique:
        # A bare "id" that is different in every row names the row: a customer only where rows are customers.
        score *= 1.0 if table == "customers" or profile.rows < 2 else 0.6
    return score


def _assign(
    fields: Sequence[Field], columns: list[str], scores: dict[tuple[str, str], float]
) -> dict[str, Match]:
    order = {field.name: position for position, field in enumerate(fields)}
    ranked = sorted(
        (key for key, score in scores.items() if score >= ACCEPTED),
        key=lambda key: (-scores[key], order[key[0]], columns.index(key[1])),
    )
    matches: dict[str, Match] = {}
    used: set[str] = set()
    for name, column in ranked:
        if name not in matches and column not in used:
            score = scores[name, column]
            reason = (
                say("The header is its usual name.") if score >= 0.8 else say("The header contains its name.")
            )
            matches[name] = Match(name, column, None, round(score, 2), reason)
            used.add(column)
    return matches


def _add_lone_date(
    fields: Sequence[Field], profiles: dict[str, Profile], columns: list[str], matches: dict[str, Match]
) -> None:
    """A required instant whose header says nothing: the only column of dates is it."""
    used = {match.column for match in matches.values()}
    dated = [c for c in columns if c not in used and profiles[c].dates >= 0.95 and profiles[c].digits < 0.5]
    for field in fields:
        if field.required and field.kind is Kind.INSTANT and field.name not in matches and len(dated) == 1:
            matches[field.name] = Match(
                field.name, dated[0], None, ACCEPTED, say("It is the only column of dates.")
            )


def _propose_vocabulary(name: Match | None, profiles: dict[str, Profile]) -> Match | None:
    """For events whose names are all codes of one kind of log."""
    if name is None or name.column is None or not (values := profiles[name.column].values):
        return None
    found = find_vocabulary(values)
    return Match(VOCABULARY, None, found, 0.9, tell_vocabulary(found)) if found else None


@dataclass(frozen=True)
class _Missing:
    """What a question about a field needs to know."""

    table: str
    file: str
    free: list[str]
    scores: dict[tuple[str, str], float]
    given: bool

    def refuse(self, field: Field) -> BadInput:
        """The question which column ``field`` is."""
        candidates = sorted(self.free, key=lambda column: -self.scores.get((field.name, column), 0.0))
        taken = [column for name, column in self.scores if name == field.name and column not in self.free]
        columns = (
            say("Columns that may be it: {columns}.", columns=join_list(candidates))
            if candidates
            else say("Its columns all have another meaning: {columns}.", columns=join_list(taken))
        )
        return BadInput(
            "data.missing_column",
            say(
                "No column of '{file}' is recognised as the {field}. {columns}",
                file=self.file,
                field=name_field(field.name),
                columns=columns,
            ),
            remedy=self._tell_remedy(field, candidates[0] if candidates else "COLUMN"),
            where={"file": self.file, "column": field.name},
        )

    def _tell_remedy(self, field: Field, column: str) -> Text:
        table = "" if self.given else f" --as {self.table}"
        if field.name == "name":
            return say(
                'Say what happened, the same for all rows: --map "name==Coupon Received"{table}; '
                "or name a column: --map name=COLUMN{table}",
                table=table,
            )
        if field.name != "customer_id":
            return say(
                "Say which column it is: --map {name}={column}{table}",
                name=field.name,
                column=column,
                table=table,
            )
        if self.table == "customers":
            return say(
                "Say which column it is: --map customer_id={column}{table}; or, where each row is a person "
                "whom nothing else names, --map customer_id={row}: tags, segments and predictions from "
                "the columns remain possible, joining with orders and sending do not.",
                column=column,
                row=ROW,
                table=table,
            )
        return say(
            "Say which column it is: --map customer_id={column}{table}; or, where customers are not known, "
            "take the order or row as one: --map customer_id={row}. Then totals, products, baskets, days and "
            "stores can be analysed; RFM, retention, lifetime value and everything else about one customer cannot.",
            column=column,
            row=ROW,
            table=table,
        )


def _check_field(field: Field, match: Match | None, missing: _Missing) -> None:
    if match is None:
        if field.required:
            raise missing.refuse(field)
        return
    scores, file = missing.scores, missing.file
    rivals = [
        c
        for c in missing.free
        if match.column and scores[field.name, c] >= scores.get((field.name, match.column), 1.0) - _SAME
    ]
    if rivals and field.strict:
        raise BadInput(
            "data.ambiguous_column",
            say(
                "Two columns of '{file}' may be the {field}: {columns}.",
                file=file,
                field=name_field(field.name),
                columns=join_list([str(match.column), *rivals][:6]),
            ),
            remedy=say(
                "Say which is meant: --map {name}={column}", name=field.name, column=str(match.column)
            ),
            where={"file": file, "column": match.column, "value": ", ".join([str(match.column), *rivals])},
        )


def _settle(
    fields: tuple[Field, ...], profiles: dict[str, Profile], name: str, value: str, *, before: bool = False
) -> Match:
    if name not in {field.name for field in fields}:
        raise BadInput(
            "data.unknown_field",
            say("--map names '{name}', which is no field of this table.", name=name),
            remedy=say("The fields are: {fields}.", fields=join_list(field.name for field in fields)),
            where={"value": name},
        )
    reason = say("As confirmed before.") if before else say("As you said.")
    if value == "":
        return Match(name, None, None, 1.0, reason)
    if value == ROW:
        return Match(name, None, ROW, 1.0, reason)
    if value.startswith("="):
        return Match(name, None, value[1:], 1.0, reason)
    found = [column for column in profiles if column.casefold() == value.strip().casefold()]
    if not found:
        raise BadInput(
            "data.unknown_column",
            say("--map names the column '{column}', which is not in the file.", column=value),
            remedy=say("The file's columns are: {columns}.", columns=join_list(profiles)),
            where={"column": value},
        )
    return Match(name, found[0], None, 1.0, reason)


def name_field(field: str) -> Text:
    """What people call a field."""
    return FIELD_TITLES[field]


FIELD_TITLES: Choices[str, Text] = {
    "customer_id": say("customer number"),
    "order_id": say("order number"),
    "ordered_at": say("order date"),
    "ordered_time": say("time of day"),
    "product_id": say("product number"),
    "product_name": say("product name"),
    "name": say("name"),
    "department": say("department"),
    "category": say("category"),
    "brand": say("brand"),
    "quantity": say("quantity"),
    "unit_price": say("unit price"),
    "revenue": say("amount paid"),
    "discount": say("discount"),
    "store_id": say("store"),
    "region": say("region"),
    "email": say("e-mail address"),
    "phone": say("phone number"),
    "address": say("postal address"),
    "price": say("price"),
    "unit_cost": say("unit cost"),
    "stock": say("stock"),
    "event_id": say("event number"),
    "vocabulary": say("vocabulary of the events"),
    "occurred_at": say("time of the event"),
    "campaign_id": say("campaign"),
    "channel": say("channel"),
    "allowed": say("whether contact is allowed"),
    "purpose": say("purpose of the contact"),
    "since": say("valid from"),
    "until": say("valid until"),
    "received_at": say("time of receipt"),
    "signal_id": say("number of the answer"),
    "score": say("score"),
    "text": say("answer in words"),
    "kind": say("kind of signal"),
    "given_at": say("time of the answer"),
}
