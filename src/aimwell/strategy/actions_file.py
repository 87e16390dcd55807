"""Actions as rows of a file that people edit: read with every error in its place, and written to be edited.

One row is one action: offer × channel × slot, whose name in code is made of these three. Column names and values may
be English or Chinese; an empty cell is the default (the channel's costs, no condition). The rows are text, from
whatever kind of file (``cli.strategy_actions`` reads CSV and workbooks). Reads and writes no tables.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NoReturn

from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.lists import join_list
from aimwell.core.money import to_money
from aimwell.core.tables import CHANNELS, SLOTS
from aimwell.core.text import Language, Text, say
from aimwell.engine.settings import ChannelSettings
from aimwell.strategy.actions import MOST, Action, name_channel, name_slot
from aimwell.strategy.limits import read_offer_title

COLUMNS: dict[str, Text] = {
    "offer": say("offer code"),
    "title": say("offer title"),
    "channel": say("channel"),
    "slot": say("time slot"),
    "department": say("department"),
    "discount": say("discount share"),
    "unit_cost": say("unit cost"),
    "redemption_cost": say("redemption cost"),
    "minutes": say("call minutes each"),
    "valid_from": say("first valid day"),
    "valid_to": say("last valid day"),
    "lead_days": say("lead days"),
    "exclusive_group": say("exclusive group"),
    "minimum": say("test minimum"),
    "rule": say("eligibility rule"),
}
"""The columns of the file, and their names for people."""
REQUIRED = ("offer", "channel")
_NUMBER = re.compile(r"\d+(\.\d+)?|\d{1,3}(,\d{3})+(\.\d+)?")
_DAY = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?([T ]00:00(:00)?)?")
_NAME = re.compile(r"[\w-]{1,64}")
_SIGNS = "¥￥$€£ "


@dataclass(frozen=True)
class FileRow:
    """One row: its number in the file, and column → cell as it was written."""

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Rules:
    """How rules are read and written: text ↔ the JSON of ``engine.rule_json``; reading raises AimwellError."""

    read: Callable[[str], Mapping[str, Any]]
    write: Callable[[Mapping[str, Any]], str]


def read_action_rows(
    file: str,
    columns: Sequence[str],
    rows: Sequence[FileRow],
    *,
    channels: Mapping[str, ChannelSettings],
    known: Sequence[Action],
    departments: frozenset[str],
    rules: Rules,
) -> tuple[Action, ...]:
    """The actions of a file; BadInput with file, row, column, value and remedy for the first that cannot be used.

    ``known``: actions whose titles are kept where the file repeats them. ``channels``: those of the settings.
    ``departments``: what an offer can be about.
    """
    names = _name_columns(file, columns)
    headers = {name: column for column, name in names.items()}
    reader = _Reader(file, headers, channels, {action.offer: action for action in known}, departments, rules)
    found: dict[str, tuple[int, Action]] = {}
    for row in rows:
        cells = {names[column]: cell.strip() for column, cell in row.cells.items()}
        if not any(cells.values()):
            continue
        action = reader.read(row.number, cells)
        if action.action_id in found:
            reader.refuse(
                "offer",
                action.offer,
                say("Row {row} is the same action.", row=found[action.action_id][0]),
                say("One row is one offer through one channel in one slot: remove one of both."),
            )
        found[action.action_id] = (row.number, action)
    if not found:
        raise BadInput(
            "strategy.no_action_rows",
            say("'{file}' holds no actions.", file=file),
            remedy=say("Write one row for each action: aimwell strategy actions --export FILE shows how."),
            where={"file": file},
        )
    return tuple(action for _, action in found.values())


def write_action_rows(
    actions: Sequence[Action], *, rules: Rules, language: Language
) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a file, in the reader's language."""
    header = [_render(title, language) for title in COLUMNS.values()]
    return header, [_write_row(action, rules, language) for action in actions]


def _write_row(action: Action, rules: Rules, language: Language) -> list[str]:
    title = read_offer_title(action)
    values: dict[str, object] = {
        **vars(action),
        "title": _render(title, language) if isinstance(title, Text) else title,
        "channel": _render(name_channel(action.channel), language),
        "slot": None if action.slot is None else _render(name_slot(action.slot), language),
        "discount": f"{Decimal(str(action.discount)) * 100:f}".rstrip("0").rstrip(".") + "%"
        if action.discount
        else None,
        "minutes": f"{action.minutes:g}",
        "lead_days": action.lead_days or None,
        "minimum": action.minimum or None,
        "rule": None if action.rule is None else rules.write(action.rule),
    }
    return ["" if values[name] is None else str(values[name]) for name in COLUMNS]


def _name_columns(file: str, columns: Sequence[str]) -> dict[str, str]:
    known = {_fold(word): name for name, title in COLUMNS.items() for word in (name, *_both(title)) if word}
    names: dict[str, str] = {}
    for column in columns:
        name = known.get(_fold(column))
        if name is None or name in names.values():
            raise BadInput(
                "strategy.bad_action_column",
                say(
                    "'{file}' has a column '{column}' that is not known, or twice.", file=file, column=column
                ),
                remedy=_name_known(),
                where={"file": file, "column": column},
            )
        names[column] = name
    for name in REQUIRED:
        if name not in names.values():
            raise BadInput(
                "strategy.no_action_column",
                say("'{file}' has no column '{column}'.", file=file, column=name),
                remedy=_name_known(),
                where={"file": file, "column": name},
            )
    return names


def _name_known() -> Text:
    names = (f"{name} ({title.both()['zh']})" for name, title in COLUMNS.items())
    return say("Its columns are: {names}.", names=join_list(names))


class _Reader:
    """Reads the cells of one row after another, and knows where it stands."""

    def __init__(
        self,
        file: str,
        headers: Mapping[str, str],
        channels: Mapping[str, ChannelSettings],
        offers: Mapping[str, Action],
        departments: frozenset[str],
        rules: Rules,
    ) -> None:
        self._file, self._channels, self._offers, self._rules = file, channels, offers, rules
        self._headers, self._departments = headers, departments
        self._row = 0
        self._cells: Mapping[str, str] = {}
        self._channel_words = {
            _fold(word): one for one in CHANNELS for word in (one, *_both(name_channel(one)))
        }
        self._slot_words = {_fold(word): one for one in SLOTS for word in (one, *_both(name_slot(one)))}

    def read(self, row: int, cells: Mapping[str, str]) -> Action:
        """The action of a row."""
        self._row, self._cells = row, cells
        offer, channel, slot = self._read_offer(), self._read_channel(), self._read_slot()
        costs = self._channels[channel]
        begin, end = self._read_day("valid_from"), self._read_day("valid_to")
        if begin is not None and end is not None and begin > end:
            self.refuse(
                "valid_to", cells["valid_to"], say("It ends before it begins."), say("Exchange both days.")
            )
        return Action(
            action_id=":".join(part for part in (offer, channel, slot) if part),
            offer=offer,
            title=self._make_title(offer, channel, slot),
            channel=channel,
            department=self._read_department(),
            discount=self._read_share("discount"),
            unit_cost=self._read_money("unit_cost", to_money(costs.unit_cost)),
            redemption_cost=self._read_money("redemption_cost", Decimal("0.00")),
            minutes=float(self._read_number("minutes", Decimal(str(costs.minutes)))),
            slot=slot,
            valid_from=begin,
            valid_to=end,
            lead_days=self._read_count("lead_days"),
            exclusive_group=cells.get("exclusive_group") or None,
            minimum=self._read_count("minimum"),
            rule=self._read_rule(),
        )

    def refuse(self, column: str, value: str, problem: Text, remedy: Text) -> NoReturn:
        """Raise the error of a cell of the row that is being read."""
        raise BadInput(
            "strategy.bad_action_cell",
            say(
                "In {file}, row {row}, column '{column}', '{value}': {problem}",
                file=self._file,
                row=self._row,
                column=self._headers[column],
                problem=problem,
                value=value[:40],
            ),
            remedy=remedy,
            where={
                "file": self._file,
                "row": self._row,
                "column": self._headers[column],
                "value": value[:40],
            },
        )

    def _read_offer(self) -> str:
        offer = self._plain("offer")
        if not _NAME.fullmatch(offer):
            self.refuse(
                "offer",
                offer,
                say("This is no name for an offer."),
                say("Use letters, digits, - and _, at most 64; what people read stands in the column title."),
            )
        return offer

    def _read_channel(self) -> str:
        text = self._cells.get("channel", "")
        channel = self._channel_words.get(_fold(text))
        if channel is None or channel not in self._channels:
            self.refuse(
                "channel",
                text,
                say("The channel is not among those of the settings."),
                say(
                    "Use one of: {names}. Others are added in aimwell.toml.", names=join_list(self._channels)
                ),
            )
        return channel

    def _read_slot(self) -> str | None:
        text = self._cells.get("slot", "")
        if not text:
            return None
        slot = self._slot_words.get(_fold(text))
        if slot is None:
            names = join_list(SLOTS)
            self.refuse("slot", text, say("There is no such slot."), say("Use one of: {names}.", names=names))
        return slot

    def _read_department(self) -> str | None:
        text = self._cells.get("department", "")
        if text and text not in self._departments:
            self.refuse(
                "department",
                text,
                say("No product is of this department, category or name."),
                say("Write it as the products do, or leave it empty for an offer on everything."),
            )
        return text or None

    def _make_title(self, offer: str, channel: str, slot: str | None) -> Text:
        given = self._cells.get("title") or offer
        kept = read_offer_title(self._offers[offer]) if offer in self._offers else None
        # A title that the program made stays readable in both languages.
        told: Text | str = kept if isinstance(kept, Text) and given in _both(kept) else given
        if slot is None:
            return say("{offer}, by {channel}", offer=told, channel=name_channel(channel))
        return say(
            "{offer}, by {channel}, {slot}", offer=told, channel=name_channel(channel), slot=name_slot(slot)
        )

    def _plain(self, column: str) -> str:
        return _tidy(self._cells.get(column, ""))

    def _read_number(self, column: str, default: Decimal) -> Decimal:
        text = self._plain(column).strip(_SIGNS)
        if not text:
            return default
        if not _NUMBER.fullmatch(text) or Decimal(text.replace(",", "")) > MOST:
            self.refuse(
                column,
                self._cells[column],
                say("This is no number of 0 or more."),
                say("Write it like 1200 or 0.05, or leave it empty."),
            )
        return Decimal(text.replace(",", ""))

    def _read_money(self, column: str, default: Decimal) -> Decimal:
        amount = self._read_number(column, default)
        if amount != to_money(amount):
            self.refuse(
                column,
                self._cells[column],
                say("Money has two decimal places here."),
                say("Round it to whole cents, upwards to stay on the safe side."),
            )
        return to_money(amount)

    def _read_count(self, column: str) -> int:
        number = self._read_number(column, Decimal(0))
        if number != int(number):
            self.refuse(
                column,
                self._cells[column],
                say("This is no whole number."),
                say("Write it like 0, 3 or 500."),
            )
        return int(number)

    def _read_share(self, column: str) -> float:
        text = self._plain(column)
        # 八五折: what is paid, in tenths.
        paid = re.fullmatch(r"(\d(?:\.\d+)?|\d\d)折", text)
        if paid:
            tenths = Decimal(paid[1]) if len(paid[1]) == 1 or "." in paid[1] else Decimal(paid[1]) / 10
            return float(1 - tenths / 10)
        plain = text.removesuffix("%")
        number = Decimal(plain) if re.fullmatch(r"\d+(\.\d+)?", plain) else None
        share = None if number is None else number / 100 if text.endswith("%") else number
        if text and (share is None or share > 1):
            self.refuse(
                column,
                text,
                say("This is no share from 0 to 1."),
                say("Write what is given away: 0.2, 20% or 8折."),
            )
        return float(share or 0)

    def _read_day(self, column: str) -> date | None:
        text = self._plain(column)
        if not text:
            return None
        found = _DAY.fullmatch(text)
        try:
            return (
                date(*(int(part) for part in found.groups()[:3])) if found else self._refuse_day(column, text)
            )
        except ValueError:
            self._refuse_day(column, text)

    def _refuse_day(self, column: str, text: str) -> NoReturn:
        self.refuse(
            column, text, say("This is no day."), say("Write it as YYYY-MM-DD, for example 2026-03-01.")
        )

    def _read_rule(self) -> Mapping[str, Any] | None:
        text = self._cells.get("rule", "")
        if not text:
            return None
        try:
            return self._rules.read(text)
        except AimwellError as error:
            remedy = error.remedy or say("Try the rule with: aimwell analysis segment preview --rule RULE")
            self.refuse("rule", text, error.message, remedy)


def _tidy(cell: str) -> str:
    """Without blanks around it, and with plain digits and signs in place of full-width ones."""
    return unicodedata.normalize("NFKC", cell).strip()


def _fold(word: str) -> str:
    return re.sub(r"[\s_-]+", "", _tidy(word).lower())


def _both(text: Text) -> tuple[str, ...]:
    return tuple(str(value) for value in text.both().values())


def _render(text: Text, language: Language) -> str:
    return str(text.both()[language])
