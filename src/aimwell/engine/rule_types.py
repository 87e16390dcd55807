"""The types of what rules may compare: tags, and attributes of customers. Reads the schemas of both tables."""

from __future__ import annotations

import pyarrow as pa

from aimwell.core.tables import TAGS, Type
from aimwell.engine.rule import ATTRIBUTE
from aimwell.engine.session import Queryable


def read_tag_types(schema: pa.Schema) -> dict[str, Type]:
    """The types of the tags in a table of ``tags``, which rules are checked against."""
    declared = {column.name for column in TAGS.columns}
    return {field.name: find_type(field.type) for field in schema if field.name not in declared}


def read_rule_types(reader: Queryable) -> dict[str, Type]:
    """The types of the tags, and of the customers' attributes as ``customers.name``: what rules may compare."""
    types = read_tag_types(reader.query("SELECT * FROM tags LIMIT 0").schema)
    attributes = reader.query("SELECT * FROM customers LIMIT 0").schema
    return types | {
        f"{ATTRIBUTE}{field.name}": find_type(field.type)
        for field in attributes
        if field.name not in ("customer_id", "source")
    }


def find_type(kind: pa.DataType) -> Type:
    """The declared type that rules take a column of this kind for."""
    if pa.types.is_boolean(kind):
        return Type.BOOLEAN
    if pa.types.is_integer(kind):
        return Type.INTEGER
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Type.REAL
    return Type.DATE if pa.types.is_date(kind) else Type.TEXT
