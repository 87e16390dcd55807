"""What a letter shop needs, and what comes back from it: the address as lines, a reference, the report of returns.

A letter that came back ends mail to that address: the customer is put on the suppression list for mail. Reads the
store's ``deliveries``; writes it, ``suppressions``, ``consent_states`` and ``channel_events``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.spreadsheet import write_csv
from aimwell.core.text import LANGUAGES, Text, say
from aimwell.deployment.channels.event_outbox import make_event, put_events
from aimwell.deployment.sheets import SheetRow, read_sheet, refuse_cell
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import (
    ALL_CHANNELS,
    ConsentState,
    Suppression,
    add_suppression,
    remember_consents,
    take_turn,
)

CHANNEL = "mail"
LINES = ("line_1", "line_2", "line_3", "line_4", "line_5")
_CHECKS = "0123456789ACDEFGHJKLMNPQRTUVWXY"
"""31 signs, none of which is read for another; a prime, so that one wrong sign and two exchanged ones are noticed."""
_SHOWN = 12
_POSTCODE = re.compile(r"(?<!\d)([0-9]{6})(?!\d)")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_LINE = 22
_REASONS: dict[str, Text] = {
    "undeliverable": say("undeliverable"),
    "moved": say("moved away"),
    "unknown": say("unknown at this address"),
    "refused": say("acceptance refused"),
    "deceased": say("deceased"),
}
_COLUMNS: dict[str, Text] = {
    "reference": say("letter's reference"),
    "delivery_id": say("number of the delivery"),
    "reason": say("reason for the return"),
}
# Whoever refuses a letter got it; the others never saw it.
_NEVER_SEEN = ("undeliverable", "moved", "unknown", "deceased")


@dataclass(frozen=True)
class AddressBlock:
    """What stands in the window of the envelope, five lines at most, the name first."""

    lines: tuple[str, ...]
    postcode: str = ""


@dataclass(frozen=True)
class ImportedReturns:
    """How many letters came back that were not known to, and what is wrong with the file; then nothing was entered.

    ``aside``: rows of letters that the ledger does not know, for one because their customers were erased since.
    """

    returned: int
    known: int
    problems: tuple[BadInput, ...] = ()
    aside: tuple[SheetRow, ...] = ()


def arrange_address(name: str, address: str) -> AddressBlock:
    """Name and address as lines: broken where the source broke it, else at commas, Chinese after every 22 characters.

    >>> arrange_address("Ann", "12 Main Street, Springfield 62701").lines
    ('Ann', '12 Main Street', 'Springfield 62701')
    """
    found = _POSTCODE.search(address) if _CHINESE.search(address) else None
    rest = address if found is None else f"{address[: found.start()]} {address[found.end() :]}"
    pieces = [piece.strip(" ,，、;；") for piece in re.split(r"[\r\n]+", rest)]
    if len(pieces) == 1 and found is None and not _CHINESE.search(rest):
        pieces = [piece.strip() for piece in rest.split(",")]
    elif _CHINESE.search(rest):
        pieces = [line for piece in pieces for line in _wrap(piece)]
    lines = [line for line in (" ".join(name.split()), *pieces) if line]
    most = len(LINES)
    if len(lines) > most:
        # Nothing of an address may be lost: what is too much stands in the last line.
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return AddressBlock(tuple(lines), found[1] if found else "")


def make_reference(delivery_id: str) -> str:
    """What is printed on the letter: short, and a mistyped one is noticed.

    >>> make_reference("0123456789ab" + "0" * 52)
    '0123-4567-89AB-F'
    """
    shown = delivery_id[:_SHOWN].upper()
    groups = [shown[at : at + 4] for at in range(0, len(shown), 4)]
    return "-".join((*groups, _check(shown)))


def read_reference(text: str) -> str | None:
    """The beginning of the delivery's id that a reference stands for; None when it is mistyped."""
    plain = re.sub(r"[\s\-]", "", text).upper().replace("O", "0").replace("I", "1")
    shown, check = plain[:-1], plain[-1:]
    if re.fullmatch(rf"[0-9A-F]{{{_SHOWN}}}", shown) and _check(shown) == check:
        return shown.lower()
    return None


def import_returns(connection: sa.Connection, path: Path, now_ms: int) -> ImportedReturns:
    """Enter the letter shop's report of what came back, within the caller's transaction.

    A cell that is mistyped keeps all rows out; a row whose letter is not known is only put aside.
    """
    rows = read_sheet(path, _COLUMNS, needed=("reason",))
    take_turn(connection)
    found: list[tuple[str, str, str]] = []
    problems: list[BadInput] = []
    aside: list[SheetRow] = []
    for row in rows:
        reason = _read_reason(row.cells["reason"])
        if reason is None:
            problems.append(_refuse_reason(path, row))
            continue
        try:
            letter = _find_letter(connection, path, row)
        except BadInput as problem:
            problems.append(problem)
            continue
        if letter is None:
            aside.append(row)
        else:
            found.append((*letter, reason))
    if problems:
        return ImportedReturns(0, 0, tuple(problems))
    news = sum(_enter(connection, *entered, now_ms) for entered in found)
    return ImportedReturns(news, len(found) - news, aside=tuple(aside))


def write_aside(path: Path, rows: Sequence[SheetRow]) -> None:
    """The rows as a file that can be repaired and imported again; of each only what the import reads."""
    write_csv(path, _COLUMNS, ([row.cells.get(name, "") for name in _COLUMNS] for row in rows))


def _enter(connection: sa.Connection, delivery_id: str, customer: str, reason: str, now_ms: int) -> bool:
    properties = {"channel": CHANNEL, "delivery_id": delivery_id, "reason": reason}
    event = make_event("Letter Returned", customer, now_ms, properties, key=[delivery_id])
    channel = ALL_CHANNELS if reason == "deceased" else CHANNEL
    fresh = add_suppression(connection, Suppression(customer, channel, f"letter:{reason}", now_ms))
    if reason == "refused":
        remember_consents(connection, [ConsentState(customer, CHANNEL, False, now_ms)])
    if reason in _NEVER_SEEN:
        sent = (DELIVERIES.c.delivery_id == delivery_id) & (DELIVERIES.c.state == "sent")
        values = {"state": "failed", "reason": "bad_recipient", "finished_at_ms": now_ms}
        fresh |= connection.execute(sa.update(DELIVERIES).where(sent).values(**values)).rowcount > 0
    if fresh:
        put_events(connection, [event], now_ms)
    return fresh


def _find_letter(connection: sa.Connection, path: Path, row: SheetRow) -> tuple[str, str] | None:
    """(delivery, customer) of a row, None when the ledger does not know it; BadInput when its number is mistyped."""
    column = "reference" if row.cells.get("reference") else "delivery_id"
    text = row.cells.get(column, "")
    start = read_reference(text) if column == "reference" else text.lower()
    if not start or not re.fullmatch(r"[0-9a-f]{12,64}", start):
        raise refuse_cell(
            path, row, column, say("no letter has this number"), say("Look for a mistyped sign.")
        )
    columns = DELIVERIES.c
    # A range, which the key's index answers; no digit of a number comes after f.
    query = sa.select(columns.delivery_id, columns.customer_id).where(
        columns.delivery_id >= start, columns.delivery_id < f"{start}g", columns.channel == CHANNEL
    )
    rows = connection.execute(query.limit(2)).all()
    if len(rows) != 1:
        return None
    return rows[0].delivery_id, rows[0].customer_id


def _read_reason(text: str) -> str | None:
    spoken: Mapping[str, str] = {
        word.casefold(): reason
        for reason, title in _REASONS.items()
        for word in (reason, *(title.render(language) for language in LANGUAGES))
    }
    return spoken.get(text.strip().casefold())


def _refuse_reason(path: Path, row: SheetRow) -> BadInput:
    words = join_list(_REASONS.values())
    return refuse_cell(
        path, row, "reason", say("this is no reason for a return"), say("Use one of {values}.", values=words)
    )


def _wrap(piece: str) -> list[str]:
    """Lines of at most 22 characters; no number and no word is broken in two."""
    lines = [""]
    for word in re.findall(r"[0-9A-Za-z\-]{1,22}|.", piece):
        if len(lines[-1]) + len(word) > _LINE:
            lines.append("")
        lines[-1] += word
    return [line.strip() for line in lines]


def _check(shown: str) -> str:
    total = sum((place + 1) * int(sign, 16) for place, sign in enumerate(shown))
    return _CHECKS[total % len(_CHECKS)]
