"""Computes all tags of all customers from what happened before ``as_of``, in three queries.

The first measures each customer (``engine.compile_tags``: one scan per source table), the second reads customers and
consents, the third compares customers with each other and puts one row per customer together. Tags that the data
cannot support are empty. Reads order_lines, products, events, customers, consents; the result becomes ``tags``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from aimwell.analysis.catalogue import CATALOGUE, MEASURED_TAGS, STANDING_TAGS
from aimwell.analysis.contact_tags import KNOWN_TAGS, compile_contacts, define_attributes
from aimwell.analysis.lifecycle import find_usual_rhythm, render_stage
from aimwell.analysis.rfm import render_quintile
from aimwell.analysis.support import Support, explain_missing, probe_support
from aimwell.analysis.tag import Tag
from aimwell.core.tables import Type
from aimwell.core.text import Text
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.specification import TagSpec, TopValue
from aimwell.engine.sql_text import SQL_TYPES, quote_name
from aimwell.engine.workspace import Run

_STANDING = """\
WITH buyers AS (
    SELECT customer_id, recency_days, orders_365d, revenue_365d
    FROM tags_measured
    WHERE recency_days IS NOT NULL
),
scored AS (
    SELECT
        customer_id,
        revenue_365d,
        {recency} AS rfm_r,
        {frequency} AS rfm_f,
        {monetary} AS rfm_m,
        (2 * (RANK() OVER (ORDER BY revenue_365d) - 1) + COUNT(*) OVER (PARTITION BY revenue_365d))
            / (2.0 * COUNT(*) OVER ()) AS value_percentile
    FROM buyers
),
spenders AS (
    SELECT
        customer_id,
        ROW_NUMBER() OVER (ORDER BY revenue_365d DESC, customer_id) AS place,
        COUNT(*) OVER () AS everybody
    FROM buyers
    WHERE revenue_365d > 0
),
standing AS (
    SELECT
        m.customer_id,
        s.rfm_r,
        s.rfm_f,
        s.rfm_m,
        CONCAT(CAST(s.rfm_r AS BIGINT), CAST(s.rfm_f AS BIGINT), CAST(s.rfm_m AS BIGINT)) AS rfm_cell_text,
        s.value_percentile,
        CASE
            WHEN v.place <= CEIL(v.everybody / 5.0) THEN 'best_20'
            WHEN v.place <= CEIL(v.everybody / 2.0) THEN 'middle'
            ELSE 'low'
        END AS value_tier,
        CASE WHEN v.place <= CEIL(v.everybody / 5.0) THEN TRUE ELSE FALSE END AS is_best_20,
        {stage} AS lifecycle_stage
    FROM tags_measured AS m
    LEFT JOIN scored AS s ON s.customer_id = m.customer_id
    LEFT JOIN spenders AS v ON v.customer_id = m.customer_id
)
SELECT
    m.customer_id,
    $as_of AS as_of,
    $run_id AS run_id,
{columns}
FROM tags_measured AS m
LEFT JOIN standing AS s ON s.customer_id = m.customer_id
LEFT JOIN tags_known AS k ON k.customer_id = m.customer_id
ORDER BY m.customer_id"""


@dataclass(frozen=True)
class ComputedTags:
    """The table ``tags``, the definitions of its columns, and what the data lacked."""

    table: pa.Table
    tags: tuple[Tag, ...]
    missing: Mapping[str, str]
    support: Support

    @property
    def lacks(self) -> tuple[Text, ...]:
        """In words, what keeps tags empty."""
        return explain_missing(self.missing)


def compute_tags(run: Run, *, zone_name: str) -> ComputedTags:
    """All tags of everybody in customers or order_lines, as of ``run.as_of``; one row per customer, sorted."""
    columns = run.query("SELECT * FROM customers LIMIT 0").column_names
    attributes = _find_attributes(run, columns)
    support = probe_support(run, as_of=run.as_of, attributes=[_attribute_of(tag) for tag in attributes])
    tags = (*CATALOGUE, *attributes)
    missing = support.find_unsupported(tags)
    specs = {
        tag.name: _fit_spec(tag.spec, support)
        for tag in MEASURED_TAGS
        if tag.spec and tag.name not in missing
    }
    measure = compile_tags(specs, as_of=run.as_of)
    measured = add_empty_columns(run.query(measure.sql, measure.parameters), MEASURED_TAGS)
    run.register("tags_measured", measured)
    contacts = compile_contacts(attributes, as_of=run.as_of, zone_name=zone_name)
    run.register("tags_known", run.query(contacts.sql, contacts.parameters))
    sql = compile_standing(tags, missing, usual_rhythm=find_usual_rhythm(measured))
    table = run.query(sql, {"as_of": run.as_of, "run_id": run.id})
    return ComputedTags(table, tags, missing, support)


def compile_standing(tags: Iterable[Tag], missing: Mapping[str, str], *, usual_rhythm: float) -> str:
    """The query that compares customers with each other and names every column of ``tags``."""
    return _STANDING.format(
        recency=render_quintile("recency_days", best="low"),
        frequency=render_quintile("orders_365d", best="high"),
        monetary=render_quintile("revenue_365d", best="high"),
        stage=render_stage(usual_rhythm),
        columns=",\n".join(f"    {_render_column(tag, tag.name in missing)}" for tag in tags),
    )


def add_empty_columns(table: pa.Table, tags: Iterable[Tag]) -> pa.Table:
    """``table`` with an empty column for each of ``tags`` that it lacks, so that later SQL may name them all."""
    kinds = {
        Type.INTEGER: pa.int64(),
        Type.REAL: pa.float64(),
        Type.TEXT: pa.string(),
        Type.BOOLEAN: pa.bool_(),
    }
    for tag in tags:
        if tag.name not in table.column_names:
            table = table.append_column(tag.name, pa.nulls(table.num_rows, kinds[tag.type]))
    return table


def _find_attributes(run: Run, columns: list[str]) -> tuple[Tag, ...]:
    """Attributes that hold anything: a region that nobody delivered is no attribute."""
    found = define_attributes(columns)
    if not found:
        return ()
    counts = ", ".join(f"COUNT({quote_name(_attribute_of(tag))}) AS {quote_name(tag.name)}" for tag in found)
    filled = run.query(f"SELECT {counts} FROM customers").to_pylist()[0]
    return tuple(tag for tag in found if filled[tag.name])


def _attribute_of(tag: Tag) -> str:
    return tag.name.removeprefix("attribute_")


def _fit_spec(spec: TagSpec, support: Support) -> TagSpec:
    """Favourites are weighed by revenue; where there is none, by the number of rows."""
    if isinstance(spec, TopValue) and spec.weight and f"{spec.table}.{spec.weight}" not in support.names:
        return replace(spec, weight=None)
    return spec


def _render_column(tag: Tag, is_missing: bool) -> str:
    name, kind = quote_name(tag.name), SQL_TYPES[tag.type]
    if is_missing:
        return f"CAST(NULL AS {kind}) AS {name}"
    if tag.name == "rfm_cell":
        return "CASE WHEN s.rfm_r IS NOT NULL THEN s.rfm_cell_text END AS rfm_cell"
    if tag in STANDING_TAGS:
        return f"CAST(s.{name} AS {kind}) AS {name}"
    known = tag in KNOWN_TAGS or tag.name.startswith("attribute_")
    if known and tag.type is Type.BOOLEAN and tag.name.endswith("_known"):
        return f"COALESCE(k.{name}, FALSE) AS {name}"
    return f"{'k' if known else 'm'}.{name}"


__all__ = ["CATALOGUE", "ComputedTags", "add_empty_columns", "compile_standing", "compute_tags"]
