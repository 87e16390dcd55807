"""Tags that people define: by form (aggregate × filter × window, or an expression), by SQL, by a model's score.

A definition is kept in the store (kind ``tag``) with its versions; one that is removed stays in the history. Reads and
writes definitions; reads the tables that its SQL names, and scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from aimwell.analysis.aligned import sort_rows
from aimwell.analysis.catalogue import CATALOGUE
from aimwell.analysis.tag import Tag
from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.lists import join_list
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.compile_tags import order_expressions
from aimwell.engine.guarded_sql import check_select
from aimwell.engine.specification import Expression, TagSpec, find_tag_type, validate_tag
from aimwell.engine.specification_json import tag_from_json
from aimwell.engine.store import Store
from aimwell.engine.workspace import Reader, Run

KIND = "tag"
SQL_TABLES = ("customers", "products", "order_lines", "events", "consents", "signals", "scores", "outcomes")
"""What SQL of a tag may read: what was delivered and what models said, not what is made of tags."""
SECONDS, MEMORY = 60.0, "512MB"
"""What the SQL of one tag may take."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED = {"customer_id", "as_of", "run_id"}
_SCORES = """\
SELECT customer_id, {value} AS {name}
FROM scores
WHERE model = $model"""
_ARROW = (
    (pa.types.is_boolean, Type.BOOLEAN),
    (pa.types.is_integer, Type.INTEGER),
    (pa.types.is_floating, Type.REAL),
    (pa.types.is_decimal, Type.REAL),
    (pa.types.is_date, Type.DATE),
    (pa.types.is_string, Type.TEXT),
    (pa.types.is_large_string, Type.TEXT),
)


@dataclass(frozen=True)
class OwnTags:
    """All definitions of people that can be used, and in words why others cannot."""

    tags: tuple[Tag, ...] = ()
    specs: Mapping[str, TagSpec] = field(default_factory=dict)
    """Measured like built-in tags."""
    expressions: Mapping[str, Expression] = field(default_factory=dict)
    """Over any other tags, built-in or not."""
    separate: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """By SQL or by a model: each is a query of its own."""
    troubles: tuple[Text, ...] = ()


def save_tag(reader: Reader, store: Store, name: str, body: Mapping[str, Any]) -> int:
    """Keep a definition when it is right; its version. BadInput says what is wrong, NotReady what takes too long.

    ``body`` holds one of ``form`` (as ``specification_json`` has it), ``sql`` or ``model`` (with ``thresholds`` and
    ``classes`` if wanted), and may hold ``title``, ``description``, ``unit`` and ``keeps_history``.
    """
    _check_name(name)
    kept = dict(body)
    ways = [way for way in ("form", "sql", "model") if kept.get(way) is not None]
    if len(ways) != 1:
        raise BadInput(
            "analysis.tag_needs_one_way",
            say("A tag is defined by a form, by SQL or by a model: exactly one of them."),
            remedy=say("Give one of --form, --sql and --model."),
        )
    types = list_types(store, reader)
    types.pop(name, None)
    if ways == ["form"]:
        _check_form(name, kept["form"], types, load_own_tags(store, types))
    elif ways == ["sql"]:
        kept["sql"] = check_select(str(kept["sql"]), SQL_TABLES, ("as_of",))
        kept["type"] = _try_sql(reader, name, kept["sql"]).value
    else:
        _check_model(reader, kept)
    return store.save_definition(KIND, name, kept)


def remove_tag(store: Store, name: str) -> int:
    """Take a definition out of use; BadInput when there is none, or others are worked out from it."""
    definitions = list_definitions(store)
    if name not in definitions:
        raise _say_not_own(name, definitions)
    users = sorted(
        other for other, body in definitions.items() if other != name and name in _list_inputs(body)
    )
    if users:
        raise BadInput(
            "analysis.tag_in_use",
            say("The tag '{name}' is needed by: {users}.", name=name, users=join_list(users)),
            remedy=say("Remove or change those first."),
        )
    return store.save_definition(KIND, name, {"removed": True})


def _say_not_own(name: str, definitions: Iterable[str]) -> BadInput:
    if name in {tag.name for tag in CATALOGUE}:
        return BadInput(
            "analysis.tag_built_in",
            say("The tag '{name}' is built in and stays.", name=name),
            remedy=say("Only tags of your own can be taken out of use."),
            where={"value": name},
        )
    near = get_close_matches(name, list(definitions), n=3, cutoff=0.5) or sorted(definitions)[:5]
    return BadInput(
        "analysis.no_own_tag",
        say("There is no tag of your own called '{name}'.", name=name),
        remedy=say("Yours are: {names}.", names=join_list(near))
        if near
        else say("You have defined none yet: aimwell analysis tag add"),
        where={"value": name},
    )


def list_definitions(store: Store) -> dict[str, dict[str, Any]]:
    """The newest version of every definition in use, by name."""
    return {name: body for name, body in store.list_definitions(KIND).items() if not body.get("removed")}


def list_types(store: Store, reader: Reader) -> dict[str, Type]:
    """Every tag that an expression may name, with its type."""
    attributes = reader.query("SELECT * FROM tags LIMIT 0").column_names
    types = {tag.name: tag.type for tag in CATALOGUE}
    types |= {name: Type.TEXT for name in attributes if name.startswith("attribute_")}
    return types | {tag.name: tag.type for tag in load_own_tags(store, types).tags}


def load_own_tags(store: Store, attributes: Iterable[str]) -> OwnTags:
    """The definitions in use, ready to be answered; ``attributes``: names of tags of delivered attributes."""
    tags: dict[str, Tag] = {}
    specs, expressions, separate = {}, {}, {}
    troubles: list[Text] = []
    for name, body in list_definitions(store).items():
        try:
            spec = tag_from_json(body["form"]) if "form" in body else None
            kind = find_tag_type(spec) if spec is not None else Type(body["type"])
            if spec is not None and not isinstance(spec, Expression):
                validate_tag(spec, {})
        except AimwellError as error:
            troubles.append(_explain_empty(name, error))
            continue
        tags[name] = _build_tag(name, body, kind, spec)
        if spec is None:
            separate[name] = body
        elif isinstance(spec, Expression):
            expressions[name] = spec
        else:
            specs[name] = spec
    known = {tag.name for tag in CATALOGUE} | set(attributes)
    usable, problems = _sort_out(expressions, known | specs.keys() | separate.keys())
    kept = tuple(tag for name, tag in tags.items() if name not in expressions or name in usable)
    return OwnTags(kept, specs, usable, separate, (*troubles, *problems))


def _sort_out(
    expressions: Mapping[str, Expression], known: set[str]
) -> tuple[dict[str, Expression], list[Text]]:
    """The expressions whose inputs there are (a delivered attribute may be gone), and why others are left out."""
    usable, troubles = dict(expressions), []
    while True:
        lost = {name: set(one.inputs) - known - usable.keys() for name, one in usable.items()}
        gone = {name: sorted(missing)[0] for name, missing in lost.items() if missing}
        for name, missing in gone.items():
            del usable[name]
            problem = say("There is no tag '{tag}'.", tag=missing)
            troubles.append(say("The tag '{name}' stays empty: {problem}", name=name, problem=problem))
        if not gone:
            return usable, troubles


def _explain_empty(name: str, error: AimwellError) -> Text:
    return say("The tag '{name}' stays empty: {problem}", name=name, problem=error.message)


def answer_own_tags(run: Run, own: OwnTags) -> tuple[dict[str, pa.Table], tuple[Text, ...]]:
    """Run each SQL and model tag once: tag → the customers and their values, sorted, and in words what failed."""
    answered: dict[str, pa.Table] = {}
    troubles = []
    for name, body in own.separate.items():
        try:
            rows = _read_scores(run, name, body) if "model" in body else _read_sql(run, name, body["sql"])
        except AimwellError as error:
            troubles.append(_explain_empty(name, error))
            continue
        answered[name] = sort_rows(_drop_endless(rows, name))
    return answered, tuple(troubles)


def _drop_endless(rows: pa.Table, name: str) -> pa.Table:
    """What is no number (0 ÷ 0) or endless is empty: engines do not agree on what it is greater than."""
    values = rows.column(name)
    if not pa.types.is_floating(values.type):
        return rows
    known = pa.compute.if_else(pa.compute.is_finite(values), values, pa.scalar(None, values.type))
    return rows.set_column(rows.column_names.index(name), name, known)


def _build_tag(name: str, body: Mapping[str, Any], kind: Type, spec: TagSpec | None) -> Tag:
    # What people write themselves is shown as it is: Text() makes no demand of a translation.
    title = Text(str(body.get("title") or name.replace("_", " ")))
    words = body.get("description")
    description = Text(str(words)) if words else say("Defined by your own people.")
    unit = str(body.get("unit") or "")
    history = bool(body.get("keeps_history"))
    return Tag(name, title, description, "behavioural", unit, kind, (), spec, history)


def _check_name(name: str) -> None:
    taken = {tag.name for tag in CATALOGUE} | _RESERVED
    if not _NAME.fullmatch(name) or name in taken or name.startswith("attribute_"):
        raise BadInput(
            "analysis.bad_tag_name",
            say("'{name}' cannot be the name of a tag of your own.", name=name),
            remedy=say("Use lower-case letters, digits and _, and no name of a built-in tag."),
            where={"value": name},
        )


def _check_form(name: str, form: object, types: Mapping[str, Type], own: OwnTags) -> None:
    spec = tag_from_json(form)
    waiting = {other: one for other, one in own.expressions.items() if other != name}
    # Its own name is no unknown one: a tag that names itself is a circle, and is called one.
    validate_tag(spec, {**types, name: find_tag_type(spec)})
    if isinstance(spec, Expression):
        order_expressions({**waiting, name: spec}, set(types) - set(waiting))


def _try_sql(reader: Reader, name: str, sql: str) -> Type:
    """The type of the value; BadInput when the columns are not a customer and one value."""
    found = _run_guarded(reader, f"SELECT * FROM ({sql}) AS answer LIMIT 0").schema
    names = [field.name for field in found]
    values = [field for field in found if field.name != "customer_id"]
    if "customer_id" not in names or len(values) != 1:
        raise BadInput(
            "analysis.tag_sql_columns",
            say(
                "The SQL of a tag answers customer_id and one value; this answers: {names}.",
                names=join_list(names),
            ),
            remedy=say("Name the first column customer_id and leave one other."),
        )
    for fits, kind in _ARROW:
        if fits(values[0].type):
            _read_sql(reader, name, sql)
            return kind
    raise BadInput(
        "analysis.tag_sql_type",
        say("The value is of type {kind}, which no tag has.", kind=str(values[0].type)),
        remedy=say("Cast it to a number, text, a date or a yes/no."),
    )


def _read_sql(reader: Reader, name: str, sql: str) -> pa.Table:
    # Checked at every run, too: it may have been kept by an older version that let more pass.
    sql = check_select(sql, SQL_TABLES, ("as_of",))
    columns = _run_guarded(reader, f"SELECT * FROM ({sql}) AS answer LIMIT 0").column_names
    value = next(column for column in columns if column != "customer_id")
    quoted = '"' + value.replace('"', '""') + '"'
    # Grouped here, so that an answer of any length takes the memory of one row per customer.
    counted = (
        f'SELECT customer_id, MAX({quoted}) AS "{name}", COUNT(*) AS rows_of FROM ({sql}) AS answer'
        " WHERE customer_id IN (SELECT customer_id FROM customers UNION SELECT customer_id FROM order_lines"
        " UNION SELECT customer_id FROM events)"
        " GROUP BY customer_id"
    )
    found = _run_guarded(reader, counted)
    repeated = found.filter(pa.compute.greater(found.column("rows_of"), 1)) if found.num_rows else found
    if repeated.num_rows:
        raise BadInput(
            "analysis.tag_sql_repeats",
            say("The SQL answers several rows for {count} customers.", count=repeated.num_rows),
            remedy=say("Group by customer_id."),
        )
    return found.drop_columns(["rows_of"])


def _run_guarded(reader: Reader, sql: str) -> pa.Table:
    import duckdb

    day = getattr(reader, "as_of", None)
    if day is None and "$as_of" in sql:
        day = reader.query("SELECT MAX(ordered_on) AS day FROM order_lines")["day"][0].as_py()
    bound = {"as_of": day} if "$as_of" in sql else None
    try:
        return reader.query_within(sql, bound, tables=SQL_TABLES, seconds=SECONDS, memory=MEMORY)
    except duckdb.Error as error:
        line = str(error).splitlines()[0][:200]
        raise BadInput(
            "analysis.tag_sql_fails",
            say("The SQL of the tag cannot be answered: {problem}", problem=line),
            remedy=say("Check the names of its columns and the types of what it compares."),
        ) from error


def _check_model(reader: Reader, body: dict[str, Any]) -> None:
    known = reader.query("SELECT DISTINCT model FROM scores ORDER BY model").column("model").to_pylist()
    if body["model"] not in known:
        raise BadInput(
            "analysis.unknown_model",
            say("No customer has a score of a model '{model}'.", model=str(body["model"])),
            remedy=say("Known models: {models}.", models=join_list(known) or "–"),
            where={"value": str(body["model"])},
        )
    thresholds, classes = body.get("thresholds") or [], body.get("classes") or []
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in thresholds)
    if (
        not numbers
        or thresholds != sorted(set(thresholds))
        or (thresholds and len(classes) != len(thresholds) + 1)
    ):
        raise BadInput(
            "analysis.bad_thresholds",
            say("Thresholds rise, and there is one class more than thresholds."),
            remedy=say("Such as --thresholds 0.2,0.6 --classes low,middle,high."),
        )
    body["type"] = (Type.TEXT if thresholds else Type.REAL).value


def _read_scores(reader: Reader, name: str, body: Mapping[str, Any]) -> pa.Table:
    thresholds, classes = body.get("thresholds") or [], body.get("classes") or []
    bound: dict[str, Any] = {"model": body["model"]}
    value = "score"
    if thresholds:
        for number, label in enumerate(classes):
            bound[f"class_{number}"] = str(label)
        steps = " ".join(
            f"WHEN score < {float(limit)!r} THEN $class_{number}" for number, limit in enumerate(thresholds)
        )
        value = f"CASE WHEN score IS NULL THEN NULL {steps} ELSE $class_{len(thresholds)} END"
    return reader.query(_SCORES.format(value=value, name=f'"{name}"'), bound)


def _list_inputs(body: Mapping[str, Any]) -> tuple[str, ...]:
    if "form" not in body:
        return ()
    spec = tag_from_json(body["form"])
    return spec.inputs if isinstance(spec, Expression) else ()
