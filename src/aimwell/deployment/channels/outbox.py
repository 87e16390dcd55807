"""Channels that end in a file which a provider takes: SMS, call-centre task list, direct mail.

Class A: a row is known by its delivery id, so handing over again adds nothing. Each batch is a small journal file,
synced before its receipt is given; the CSV that people open is made from all journals and put in place at
once. Two processes may work on one outbox: whoever replaces the CSV looks again whether a journal was added.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aimwell.core.spreadsheet import guard_cell
from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.letters import LINES, arrange_address, make_reference
from aimwell.deployment.channels.sms import measure_sms
from aimwell.engine.files import sync_folder

Row = dict[str, str]
# Excel takes UTF-8 for the local code page (and shows Chinese as rubbish) unless the file starts with this.
_BOM = "\ufeff"


@dataclass(frozen=True)
class Layout:
    """The columns of a provider's file and how a message fills them."""

    file_name: str
    columns: tuple[str, ...]
    fill: Callable[[Message], Mapping[str, str]]


class OutboxChannel(Channel):
    """Writes ``folder/<layout.file_name>``; ``folder`` belongs to one plan."""

    promise = Promise.REJECTS_REPEATS
    window = 500

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.layout = layout
        self.path = folder / layout.file_name
        self._journals = folder / ".journal" / layout.file_name

    def deliver(self, message: Message) -> Receipt:
        """Take one message in."""
        return self.deliver_batch([message])[0]

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Take all in, durably, before the first receipt is given."""
        rows = [{"delivery_id": message.delivery_id, **self.layout.fill(message)} for message in messages]
        name = hashlib.sha256("\n".join(row["delivery_id"] for row in rows).encode()).hexdigest()[:32]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._journals.mkdir(parents=True, exist_ok=True)
        _write_whole(self._journals / f"{name}.jsonl", lines)
        return [Receipt(Outcome.SENT, provider_id=self.layout.file_name) for _ in rows]

    def finish(self) -> None:
        """Make the CSV of everything that was taken in."""
        merged: frozenset[str] | None = None
        while (found := self._list_journals()) != merged and found:
            _write_whole(self.path, self._render(found))
            merged = found

    def count_rows(self) -> int:
        """How many deliveries were taken in."""
        return len(self._read_rows(self._list_journals()))

    def _list_journals(self) -> frozenset[str]:
        return frozenset(path.name for path in self._journals.glob("*.jsonl"))

    def _read_rows(self, names: frozenset[str]) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for name in sorted(names):
            with (self._journals / name).open(encoding="utf-8") as stream:
                for line in stream:
                    row: Row = json.loads(line)
                    rows.setdefault(row["delivery_id"], row)
        return rows

    def _render(self, names: frozenset[str]) -> str:
        text = io.StringIO()
        text.write(_BOM)
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(self.layout.columns)
        for number, (_, row) in enumerate(sorted(self._read_rows(names).items()), 1):
            cells = {"sequence": str(number), **row}
            writer.writerow([guard_cell(cells.get(column, "")) for column in self.layout.columns])
        return text.getvalue()


def _fill_sms(message: Message) -> Mapping[str, str]:
    length = measure_sms(message.text)
    return {
        "phone": message.recipient,
        "text": message.text,
        "characters": str(length.characters),
        "encoding": length.encoding,
        "segments": str(length.segments),
    }


def _fill_call(message: Message) -> Mapping[str, str]:
    details = message.details
    return {
        "phone": message.recipient,
        "customer_id": message.customer_id,
        "name": message.name,
        "best_hour": details.get("best_hour", ""),
        "reason": details.get("reason", ""),
        "offer": details.get("offer", ""),
        "products": details.get("products", ""),
        "script": message.text,
    }


def _fill_mail(message: Message) -> Mapping[str, str]:
    block = arrange_address(message.name, message.recipient)
    return {
        "reference": make_reference(message.delivery_id),
        "customer_id": message.customer_id,
        "name": message.name,
        "address": message.recipient,
        "postcode": block.postcode,
        "offer": message.details.get("offer", ""),
        "subject": message.subject,
        "text": message.text,
        **dict(zip(LINES, block.lines, strict=False)),
    }


SMS = Layout("sms.csv", ("delivery_id", "phone", "text", "characters", "encoding", "segments"), _fill_sms)
CALL = Layout(
    "call.csv",
    ("delivery_id", "customer_id", "phone", "name", "best_hour", "reason", "offer", "products", "script"),
    _fill_call,
)
# The sequence counts the rows of the file as it stands; the reference is the letter's for ever, and comes back with
# what could not be delivered.
MAIL = Layout(
    "mail.csv",
    (
        *("sequence", "reference", "delivery_id", "customer_id", "name", "address"),
        *(*LINES, "postcode", "offer", "subject", "text"),
    ),
    _fill_mail,
)
LAYOUTS: dict[str, Layout] = {"sms": SMS, "call": CALL, "mail": MAIL}


def _write_whole(path: Path, text: str) -> None:
    """The whole file or nothing, on disk when this returns; readable by its owner only: it holds addresses."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
