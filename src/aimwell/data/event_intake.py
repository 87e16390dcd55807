"""Takes batches of events in, durably: each message is accepted once, known already, or set aside with the reason.

``take_events`` is the door for programs, ``take_file`` for JSON Lines and JSON arrays. Writes hot rows of
``events``, ``order_lines`` and ``rejects`` (``engine.hot_events``), at once visible to readers, and what messages
say about people, which ``data.event_profiles`` brings into ``customers`` and ``identifiers``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from aimwell.core.collecting import without_collector
from aimwell.core.errors import BadInput, Conflict
from aimwell.core.ids import fold_id
from aimwell.core.tables import EVENTS, ORDER_LINES, REJECTS, Table
from aimwell.core.text import Text, say
from aimwell.core.time import now, zone
from aimwell.data.event_file import FileMessage, check_form, find_encoding, iterate_file
from aimwell.data.event_profiles import PROFILE_SCHEMA, PROFILES, find_column
from aimwell.data.event_record import Waiting, record_file
from aimwell.data.privacy import CONTACTS
from aimwell.data.segment_events import ANONYMOUS, Message, Terms, name_by_content, read_message
from aimwell.engine.erased import Erased, load_erased
from aimwell.engine.hot_events import HotBatch
from aimwell.engine.workspace import Workspace

SOURCE = "events"
FILE_BATCH = 10_000
"""Messages of a file that become durable together."""
_RUN = "events"
_MOST_RECORD = 100_000
_BETWEEN = re.compile(r"[\s\"',:{}\[\]]+")


class Receipt(NamedTuple):
    """What became of one message. ``problem`` says why it was rejected, or why its order's lines were."""

    message_id: str
    status: Literal["accepted", "duplicate", "rejected"]
    problem: BadInput | None = None

    @property
    def message(self) -> Text | None:
        """The problem in words."""
        return None if self.problem is None else self.problem.message

    def to_dict(self) -> dict[str, Any]:
        """For ``--json`` and the HTTP API."""
        problem = None if self.problem is None else self.problem.to_dict()
        return {"message_id": self.message_id, "status": self.status, "problem": problem}


@dataclass(frozen=True)
class _Refused:
    """A message that cannot be taken in."""

    id: str
    problem: BadInput
    record: str
    file: str = ""
    line: int | None = None


def take_events(
    workspace: Workspace, batch: object, *, source: str = SOURCE, received_at: datetime | None = None
) -> list[Receipt]:
    """Take messages in (a list, one object, or Segment's ``{"batch": […]}``); one receipt per message, in order.

    When this returns, everything accepted is durable and readers see it. Sending a batch again changes nothing, at
    whatever age its messages tell when they happened (``originalTimestamp``, ``timestamp`` or ``receivedAt``). One that
    does not happens when it arrives: it is known again for ``workspace.hot.window`` (7) days, and counts anew after.
    """
    terms = _find_terms(workspace, source, received_at)
    with without_collector():
        return _take(workspace, [_read(message, terms) for message in unpack_batch(batch)], terms)


def take_file(
    workspace: Workspace,
    path: Path,
    *,
    source: str = SOURCE,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Take a file of JSON Lines or of one JSON array in; counts of accepted, duplicate and rejected messages.

    Batches become durable one after the other: after an interruption, or at any later time, the same file may be taken
    in again: messages that do not say when they happened are looked for on all days. At the end
    the file stands in ``sources``, and rejects that it repaired are gone.
    """
    counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
    waiting = Waiting.read(workspace, source, path)
    for place, batch in enumerate(_group(iterate_file(path), FILE_BATCH)):
        if not place:
            check_form(path, batch)
        terms = replace(_find_terms(workspace, source, None), is_live=False)
        with without_collector():
            receipts = _take(workspace, [_read_line(one, path, terms) for one in batch], terms)
        for receipt in receipts:
            counts[receipt.status] += 1
            waiting.note(receipt.message_id, is_whole=receipt.problem is None)
        if progress is not None:
            progress(sum(counts.values()))
    record_file(workspace, waiting, counts, find_encoding(path))
    return counts


def prepare(workspace: Workspace) -> None:
    """Load what the first batch would wait for: to turn instants into columns Arrow brings half its libraries in."""
    terms = _find_terms(workspace, SOURCE, None)
    first = _read({"type": "page", "userId": "nobody", "messageId": "none"}, terms)
    _build_batch(workspace, [first], terms)


def unpack_batch(batch: object) -> list[object]:
    """The messages of a batch; what Segment's batch says for all of them (sentAt, context) is given to each."""
    if isinstance(batch, list):
        return batch
    if isinstance(batch, dict) and isinstance(batch.get("batch"), list):
        shared = {name: batch[name] for name in ("sentAt", "receivedAt", "context") if name in batch}
        return [{**shared, **one} if isinstance(one, dict) else one for one in batch["batch"]]
    return [batch]


def _find_terms(workspace: Workspace, source: str, received_at: datetime | None) -> Terms:
    business = workspace.settings.business
    return Terms(source, zone(business.zone), business.currency, received_at or now())


def _read(message: object, terms: Terms, file: str = "", line: int | None = None) -> Message | _Refused:
    try:
        return read_message(message, terms)
    except BadInput as error:
        record = json.dumps(message, ensure_ascii=True, default=str)
        if len(record) > _MOST_RECORD:
            record = json.dumps({"text": record[:_MOST_RECORD]})
        return _Refused(name_by_content(message), error, record, file, line)


def _read_line(one: FileMessage, path: Path, terms: Terms) -> Message | _Refused:
    if one.problem is not None:
        record = json.dumps({"text": one.text}, ensure_ascii=True)
        return _Refused(name_by_content(one.text), one.problem, record, path.name, one.line)
    return _read(one.message, terms, path.name, one.line)


def _take(workspace: Workspace, read: Sequence[Message | _Refused], terms: Terms) -> list[Receipt]:
    anew = False
    while True:
        try:
            return _take_but_of(load_erased(workspace, anew=anew), workspace, read, terms)
        except Conflict:
            # Somebody was erased since they were last read.
            anew = True


def _take_but_of(
    erased: Erased, workspace: Workspace, read: Sequence[Message | _Refused], terms: Terms
) -> list[Receipt]:
    """Take in what is not about erased people; of them not even the refusal is kept."""
    out = [_is_of_erased(one, erased) for one in read] if erased.known else [False] * len(read)
    kept = [one for one, gone in zip(read, out, strict=True) if not gone]
    fresh: Iterator[bool] = iter(())
    if kept:
        for one in kept:
            if erased.known and isinstance(one, Message):
                _leave_erased(one, erased)
        batch = replace(_build_batch(workspace, kept, terms), erasures=erased.version)
        fresh = iter(workspace.hot.append(batch, received_on=terms.received_at.date()).tolist())
    receipts = []
    for one, gone in zip(read, out, strict=True):
        if gone:
            receipts.append(Receipt(one.id, "rejected", _tell_erased()))
            continue
        is_new = next(fresh)
        if isinstance(one, _Refused):
            receipts.append(Receipt(one.id, "rejected", one.problem))
        else:
            receipts.append(Receipt(one.id, "accepted" if is_new else "duplicate", one.problem))
    return receipts


def _is_of_erased(one: Message | _Refused, erased: Erased) -> bool:
    if isinstance(one, _Refused):
        record = json.loads(one.record)
        # What could not be read as JSON is looked through word by word.
        unread = _BETWEEN.split(record["text"]) if set(record) == {"text"} else []
        return erased.tell_any([record, unread, _fold_ids([record, unread])])
    if erased.tell(one.customer_id, "record"):
        return True
    # A visitor who is not signed in is known by the cookie alone.
    visitor = one.customer_id.removeprefix(ANONYMOUS)
    return visitor != one.customer_id and erased.tell(visitor, "record", "trace")


def _fold_ids(packed: object) -> object:
    """Every text of a JSON value as if it were a customer's number: a refused message may name one in wide signs."""
    if isinstance(packed, dict):
        return [_fold_ids(value) for value in packed.values()]
    if isinstance(packed, list):
        return [_fold_ids(value) for value in packed]
    return fold_id(packed) if isinstance(packed, str) and not packed.isascii() else None


def _leave_erased(one: Message, erased: Erased) -> None:
    """Leave out what would tie a customer to erased people, or bring back a contact that must not be used."""
    one.identifiers = [
        (record, anonymous)
        for record, anonymous in one.identifiers
        if not erased.tell(record, "record") and not erased.tell(anonymous, "record", "trace")
    ]
    for name in list(one.traits):
        kind = find_column(name)
        if kind in CONTACTS and erased.tell(one.traits[name], kind):
            del one.traits[name]


def _tell_erased() -> BadInput:
    return BadInput(
        "data.event_of_erased_person",
        say("The event is about a person who was erased."),
        remedy=say("Send no more events of this person; a new customer needs a new number."),
    )


class _Rows:
    """Rows of one table by column, each with the number of its message."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows: list[tuple[Any, ...]] = []
        self.parents: list[int] = []

    def add(self, row: tuple[Any, ...], parent: int) -> None:
        self.rows.append(row)
        self.parents.append(parent)

    def build(self) -> tuple[pa.Table, Any]:
        columns = zip(*self.rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema), np.array(self.parents, dtype=np.int64)


def _build_batch(workspace: Workspace, read: Sequence[Message | _Refused], terms: Terms) -> HotBatch:
    """The rows of all messages. Orders and refusals have ids of their own after those of the messages."""
    tables: dict[str, _Rows] = {
        "events": _Rows(EVENTS.schema),
        "order_lines": _Rows(ORDER_LINES.schema),
        "rejects": _Rows(REJECTS.schema),
        PROFILES: _Rows(PROFILE_SCHEMA),
    }
    ids = [("rejected:" if isinstance(one, _Refused) else "message:") + one.id for one in read]
    for number, one in enumerate(read):
        if isinstance(one, _Refused):
            tables["rejects"].add(_build_reject(one, terms.source), number)
            continue
        tables["events"].add(one.event, number)
        _add_profile(tables[PROFILES], one, number, terms.source)
        if one.lines:
            ids.append("order:" + one.lines_id)
            for line in one.lines:
                tables["order_lines"].add(_order(line, ORDER_LINES), len(ids) - 1)
        if one.problem is not None:
            refused = _Refused(one.id, one.problem, json.dumps({"messageId": one.id}))
            tables["rejects"].add(_build_reject(refused, terms.source), number)
    rows = {name: found.build() for name, found in tables.items() if found.rows}
    return HotBatch(ids, rows, _find_known(workspace, read, ids, terms))


def _add_profile(rows: _Rows, one: Message, number: int, source: str) -> None:
    for name, value in one.traits.items():
        rows.add(("trait", one.customer_id, name, value, source), number)
    for record, anonymous in one.identifiers:
        rows.add(("anonymous", record, "", anonymous, source), number)


def _order(row: Mapping[str, Any], table: Table) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.columns)


def _build_reject(one: _Refused, source: str) -> tuple[Any, ...]:
    where = one.problem.where
    value = where.get("value")
    row = {
        "reject_id": f"{source}:{one.id}",
        "source": source,
        "file": one.file,
        "row_number": one.line,
        "column_name": where.get("column"),
        "value": None if value is None else str(value).encode("utf-8", "replace").decode(),
        "reason": one.problem.code,
        "message": say(
            "{problem} {remedy}", problem=one.problem.message, remedy=one.problem.remedy
        ).to_json(),
        "record": one.record,
        "run_id": _RUN,
    }
    return _order(row, REJECTS)


def _find_known(
    workspace: Workspace, read: Sequence[Message | _Refused], ids: Sequence[str], terms: Terms
) -> Any:
    """Messages older than the window in which ids are remembered, and already in the tables.

    Where a message stands that does not say when it happened, nothing tells: of a file it is looked for everywhere.
    Programs send such messages one by one, and each would read the ids of all events (``take_events``).
    """
    first = terms.received_at.date() - timedelta(days=workspace.hot.window - 1)
    late = [one for one in read if isinstance(one, Message) and _may_be_forgotten(one, first, terms)]
    if not late:
        return None
    asked = pa.table(
        {
            "event_id": pa.array([one.id for one in late], pa.string()),
            "line_id": pa.array(
                [one.lines[0]["line_id"] if one.lines else None for one in late], pa.string()
            ),
        }
    )
    # A repeat may have been under way for longer or shorter: corrected, its time is a moment off.
    low, high = min(one.occurred_on for one in late), max(one.occurred_on for one in late)
    if not all(one.is_dated for one in late):
        low = date(1990, 1, 1)
    days = {"low": low - timedelta(days=1), "high": high + timedelta(days=1)}
    with workspace.read() as reader:
        reader.register("asked", asked)
        found = reader.query(
            """
            SELECT event_id FROM delivered_events
            WHERE occurred_on BETWEEN $low AND $high AND event_id IN (SELECT event_id FROM asked)""",
            days,
        )
        lines = reader.query(
            """
            SELECT line_id FROM delivered_order_lines
            WHERE ordered_on BETWEEN $low AND $high
                AND line_id IN (SELECT line_id FROM asked WHERE line_id IS NOT NULL)""",
            days,
        )
    known = {f"message:{name}" for name in found["event_id"].to_pylist()}
    known |= {f"order:{name.rpartition(':')[0]}" for name in lines["line_id"].to_pylist()}
    return np.array([name in known for name in ids], dtype=np.bool_)


def _may_be_forgotten(one: Message, first: date, terms: Terms) -> bool:
    return one.occurred_on < first if one.is_dated else not terms.is_live


def _group(messages: Iterator[FileMessage], size: int) -> Iterator[list[FileMessage]]:
    batch: list[FileMessage] = []
    for message in messages:
        batch.append(message)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
