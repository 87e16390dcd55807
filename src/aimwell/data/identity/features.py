"""What the probabilistic search compares: one row per record, each attribute in its normal form.

Reads records as delivered; gives an Arrow table with the columns that have values, among ``FEATURES`` and
``other_…`` for attributes of unknown meaning.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.data.identity.fields import find_fields, find_others
from aimwell.data.identity.names import normalise_name, simplify, split_name
from aimwell.data.identity.normalise import (
    normalise_date,
    normalise_email,
    normalise_id_number,
    normalise_phone,
    normalise_postcode,
    normalise_text,
)

FEATURES = (
    "given",
    "given_root",
    "family",
    "family_root",
    "birth_date",
    "id_number",
    "phone",
    "email",
    "mailbox",
    "postcode",
    "area",
    "city",
    "state",
    "street",
)
_LEAST_COVERAGE = 0.02
"""A column that fewer records fill says too little to learn from."""
_MOST_OTHERS = 4

Values = list[str | None]


def build_features(records: pa.Table, *, record: str = "customer_id", region: str = "CN") -> pa.Table:
    """One row per row of ``records``: ``record_id`` and its features, all text.

    ``record`` names the column that identifies a record; ``region`` (ISO 3166) holds for phone numbers.
    """
    names = [name for name in records.column_names if name != record]
    by_role: dict[str, list[str]] = {}
    for field in find_fields(names):
        by_role.setdefault(field.role, []).append(field.column)
    columns: dict[str, Values] = {"record_id": records[record].cast(pa.string()).to_pylist()}
    columns |= _take_names(records, by_role)
    simple: dict[str, Callable[[str], str | None]] = {
        "birth_date": normalise_date,
        "id_number": normalise_id_number,
        "phone": lambda value: normalise_phone(value, region),
        "email": normalise_email,
        "postcode": normalise_postcode,
        "city": _normalise_place,
        "state": _normalise_place,
    }
    for role, normal in simple.items():
        if role in by_role:
            columns[role] = _apply(records, by_role[role], normal)
    columns |= _take_street(records, by_role)
    if "email" in columns:
        columns["mailbox"] = [value.split("@")[0] if value else None for value in columns["email"]]
    if "postcode" in columns:
        columns["area"] = [_cut_area(value) for value in columns["postcode"]]
    columns |= _take_others(records, names)
    least = max(1, int(_LEAST_COVERAGE * records.num_rows))
    kept = {
        name: values
        for name, values in columns.items()
        if name == "record_id" or sum(value is not None for value in values) >= least
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in kept.items()})


def _apply(records: pa.Table, columns: list[str], normal: Callable[[str], str | None]) -> Values:
    """The first of ``columns`` that has a value in its normal form; each distinct value is worked out once."""
    result: Values = [None] * records.num_rows
    for column in columns:
        texts = records[column].cast(pa.string())
        known = {value: normal(value) for value in pc.unique(texts).to_pylist() if value is not None}
        for place, value in enumerate(texts.to_pylist()):
            if result[place] is None and value is not None:
                result[place] = known[value]
    return result


def _take_names(records: pa.Table, by_role: dict[str, list[str]]) -> dict[str, Values]:
    given, family, full = (
        _apply(records, by_role.get(role, []), normalise_name) for role in ("given", "family", "full_name")
    )
    if not any(role in by_role for role in ("given", "family", "full_name")):
        return {}
    parts = [split_name(*row) for row in zip(given, family, full, strict=True)]
    heads = [part.given.split()[0] if part.given else None for part in parts]
    tails = [part.family for part in parts]
    _place_lone_names(heads, tails)
    roots = {value: split_name(value, None, None).given_root for value in set(heads) if value}
    ends = {value: split_name(None, value, None).family_root for value in set(tails) if value}
    return {
        "given": heads,
        "given_root": [roots[value] if value else None for value in heads],
        "family": tails,
        "family_root": [ends[value] if value else None for value in tails],
    }


def _place_lone_names(given: Values, family: Values) -> None:
    """A record with one name only: it is a family name if the others use it as such more often."""
    as_given: dict[str, int] = {}
    as_family: dict[str, int] = {}
    for first, last in zip(given, family, strict=True):
        if first and last:
            as_given[first] = as_given.get(first, 0) + 1
            as_family[last] = as_family.get(last, 0) + 1
    for place, (first, last) in enumerate(zip(given, family, strict=True)):
        if first and not last and as_family.get(first, 0) > as_given.get(first, 0):
            given[place], family[place] = None, first
        elif last and not first and as_given.get(last, 0) > as_family.get(last, 0):
            given[place], family[place] = last, None


def _take_street(records: pa.Table, by_role: dict[str, list[str]]) -> dict[str, Values]:
    """House number and every address line as one text, in the order of the file."""
    lines = [column for role in ("street_number", "street") for column in by_role.get(role, [])]
    if not lines:
        return {}
    parts = [_apply(records, [column], _normalise_street) for column in lines]
    return {"street": [" ".join(part for part in row if part) or None for row in zip(*parts, strict=True)]}


def _take_others(records: pa.Table, names: list[str]) -> dict[str, Values]:
    """Attributes of unknown meaning with few enough values to repeat and many enough to tell apart."""
    found: list[tuple[float, str, Values]] = []
    for column in find_others(names):
        if not pa.types.is_string(records[column].type) and not pa.types.is_large_string(
            records[column].type
        ):
            continue
        values = _apply(records, [column], normalise_text)
        filled = [value for value in values if value is not None]
        distinct = len(set(filled))
        if filled and 2 <= distinct <= len(filled) / 3:
            found.append((len(filled), column, values))
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return {f"other_{place}": values for place, (_, _, values) in enumerate(found[:_MOST_OTHERS], 1)}


def _normalise_place(value: str) -> str | None:
    text = normalise_text(value)
    return simplify(text).rstrip("市区县省") or text if text else None


def _normalise_street(value: str) -> str | None:
    text = normalise_text(value)
    return simplify(text).replace("号", "").replace(" ", "") or None if text else None


def _cut_area(postcode: str | None) -> str | None:
    """The part of a postcode that names a district: all but its last three signs."""
    return postcode[:-3] if postcode and len(postcode) >= 5 else (postcode[:2] if postcode else None)
