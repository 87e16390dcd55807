"""The limits that people write into the settings (``[[strategy.limits]]``), as limits of a plan.

By channel, offer, action, slot, tag and saved segment; money, minutes, contacts, or a share. Reads and writes no
tables; ``load.read_traits`` reads the columns that they name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.engine.rule import ATTRIBUTE
from aimwell.engine.settings import LimitSettings
from aimwell.strategy.actions import Action, name_channel, name_slot
from aimwell.strategy.inputs import Limit
from aimwell.strategy.traits import INSIDE, SEGMENT, Where, write_value

PERSONAL = frozenset({"customer_id", "name", "email", "phone", "address", "birth_date"})
"""Attributes that tell people apart rather than groups of them."""
MOST_NAMED = 8


def list_columns(asked: Iterable[LimitSettings]) -> tuple[str, ...]:
    """The columns by which these limits tell customers apart; BadInput for one that names a person."""
    found: dict[str, None] = {}
    for setting in asked:
        for column in setting.where:
            if column.removeprefix(ATTRIBUTE) in PERSONAL and column.startswith(ATTRIBUTE):
                raise _refuse(
                    setting,
                    column,
                    say("'{column}' tells persons apart, not groups of them.", column=column),
                    say("Use a tag or an attribute that many customers share, such as a region."),
                )
            found[column] = None
        if setting.segment is not None:
            found[f"{SEGMENT}{setting.segment}"] = None
    return tuple(found)


def build_asked_limits(
    asked: Sequence[LimitSettings], actions: Sequence[Action], traits: Mapping[str, tuple[str, ...]]
) -> tuple[Limit, ...]:
    """The limits as a plan keeps them; BadInput for an unknown part or value, or a limit that cannot be read."""
    for name, count in Counter(setting.id for setting in asked).items():
        if count > 1 or name in ("budget", "call_minutes"):
            raise _refuse(
                next(setting for setting in asked if setting.id == name),
                "id",
                say("There is another limit of that name."),
                say("Give every limit a name of its own."),
            )
    return tuple(_build_limit(setting, actions, traits) for setting in asked)


def _build_limit(
    setting: LimitSettings, actions: Sequence[Action], traits: Mapping[str, tuple[str, ...]]
) -> Limit:
    amount = _read_amount(setting)
    where = _read_where(setting, traits)
    if setting.unit == "percent" and not where:
        raise _refuse(
            setting,
            "unit",
            say("A share needs customers whose share it is."),
            say("Name them by where or segment, for example: segment = 'champions'."),
        )
    counted = _find_actions(setting, actions)
    return Limit(
        setting.id,
        _make_title(setting, where),
        setting.unit,
        amount,
        "at_least" if setting.at_most is None else "at_most",
        None if len(counted) == len(actions) else counted,
        where,
    )


def _read_amount(setting: LimitSettings) -> float:
    given = [amount for amount in (setting.at_most, setting.at_least) if amount is not None]
    if len(given) != 1:
        raise _refuse(
            setting,
            "at_most",
            say("It has no amount, or two."),
            say("Give exactly one of at_most and at_least."),
        )
    if setting.unit == "percent" and (given[0] > 100 or setting.hours is not None):
        raise _refuse(
            setting,
            "hours" if given[0] <= 100 else "at_most" if setting.at_least is None else "at_least",
            say("A share is at most 100 %, and not by the hour."),
            say("Give a number from 0 to 100."),
        )
    return given[0] * (setting.hours or 1.0)


def _find_actions(setting: LimitSettings, actions: Sequence[Action]) -> tuple[str, ...]:
    found = list(actions)
    for part in ("channel", "offer", "action", "slot"):
        wanted = getattr(setting, part)
        if wanted is None:
            continue
        known = sorted({str(_read_part(action, part)) for action in actions if _read_part(action, part)})
        if wanted not in known:
            raise _refuse(
                setting,
                part,
                say("No action has the {part} '{value}'.", part=part, value=wanted),
                say("Known are: {names}.", names=join_list(known) or "-"),
                wanted,
            )
        found = [action for action in found if _read_part(action, part) == wanted]
    return tuple(action.action_id for action in found)


def _read_part(action: Action, part: str) -> str | None:
    return action.action_id if part == "action" else getattr(action, part)


def _read_where(setting: LimitSettings, traits: Mapping[str, tuple[str, ...]]) -> Where:
    found = []
    for column, given in setting.where.items():
        values = tuple(write_value(one) for one in (given if isinstance(given, tuple) else (given,)))
        known = Counter(traits[column])
        for value in values:
            if not known[value]:
                usual = [one for one, _ in known.most_common(MOST_NAMED) if one]
                raise _refuse(
                    setting,
                    column,
                    say("No customer has '{value}' as {column}.", value=value, column=column),
                    say("The most frequent values are: {names}.", names=join_list(usual) or "-"),
                    value,
                )
        found.append((column, values))
    if setting.segment is not None:
        found.append((f"{SEGMENT}{setting.segment}", (INSIDE,)))
    return tuple(found)


def _make_title(setting: LimitSettings, where: Where) -> Text:
    if setting.title is not None:
        return say("{name}", name=setting.title)
    units = {
        "money": say("Money"),
        "minutes": say("Call minutes"),
        "contacts": say("Contacts"),
        "percent": say("Share"),
    }
    title = units[setting.unit]
    parts: list[Text | str] = []
    if setting.channel is not None:
        parts.append(name_channel(setting.channel))
    parts += [part for part in (setting.offer, setting.action) if part is not None]
    if setting.slot is not None:
        parts.append(name_slot(setting.slot))
    for column, values in where:
        name = column.removeprefix(SEGMENT).removeprefix(ATTRIBUTE)
        parts.append(name if values == (INSIDE,) else f"{name} = {', '.join(values)}")
    for part in parts:
        title = say("{limit}, {part}", limit=title, part=part)
    return title


def _refuse(
    setting: LimitSettings, part: str, problem: Text, remedy: Text, value: str | None = None
) -> BadInput:
    return BadInput(
        "strategy.bad_asked_limit",
        say(
            "The limit '{name}' in [[strategy.limits]] cannot be used: {problem}",
            name=setting.id,
            problem=problem,
        ),
        remedy=remedy,
        where={"file": "aimwell.toml", "column": f"strategy.limits.{setting.id}.{part}", "value": value},
    )
