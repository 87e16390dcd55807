"""Which table a file feeds: proposed from its headers and values, with a confidence, and asked where that is low.

Reads profiles; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.data.mapping import OWN_COLUMNS, ROW_NAMES, Match, match_columns
from aimwell.data.profile import Profile
from aimwell.data.synonyms import FIELDS, fold_header

SURE = 0.6
_AHEAD = 0.1
_ORDER_FACTS = ("order_id", "quantity", "revenue", "unit_price")
_CONTACTS = ("email", "phone", "address")
_PRODUCT_FACTS = ("name", "category", "department", "brand", "price", "unit_cost", "stock")


@dataclass(frozen=True)
class Candidate:
    """A table that a file may feed. ``confidence`` 0–1."""

    table: str
    confidence: float


def rank_tables(profiles: dict[str, Profile]) -> list[Candidate]:
    """Every table that the columns may be, the likeliest first."""
    columns = [column for column in profiles if column not in OWN_COLUMNS]
    found = {name: match_columns(name, fields, columns, profiles) for name, fields in FIELDS.items()}
    scores = {
        "order_lines": _score_orders(found["order_lines"]),
        "events": _score_events(found["events"], profiles),
        "consents": _score_consents(found["consents"]),
        "signals": _score_signals(found["signals"]),
        "products": _score_products(found["products"], found["customers"], profiles),
    }
    facts = max(scores["order_lines"], scores["events"], scores["consents"], scores["signals"])
    payments = _sure(found["order_lines"], "ordered_at", "revenue") >= 0.8
    scores["customers"] = _score_customers(found["customers"], profiles, facts, payments=payments)
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    return [Candidate(name, round(score, 2)) for name, score in ranked if score > 0.15]


def choose_table(file: str, profiles: dict[str, Profile]) -> Candidate:
    """The table that ``file`` feeds; BadInput, which asks, when no table or more than one is likely."""
    ranked = rank_tables(profiles)
    if not ranked:
        raise BadInput(
            "data.no_known_table",
            say(
                "'{file}' is not recognised as customers, products, orders, events, consents or signals: "
                "no column is a customer number or a product number. Its columns are: {columns}.",
                file=file,
                columns=join_list(profiles),
            ),
            remedy=say(
                "If it is one of them, say which and name the column: --as order_lines --map "
                "customer_id=COLUMN. Where each row is a person without a number: --as customers --map "
                "customer_id=#row. Without customers, totals by product, day and store can be analysed, "
                "but nothing about one customer."
            ),
            where={"file": file, "value": ", ".join(profiles)},
        )
    second = ranked[1].confidence if len(ranked) > 1 else 0.0
    if ranked[0].confidence - second >= _AHEAD:
        return ranked[0]
    raise ask_table(file, ranked)


def ask_table(file: str, ranked: list[Candidate]) -> BadInput:
    """The question which of the likely tables is meant."""
    shown = join_list(f"{candidate.table} {candidate.confidence:.0%}" for candidate in ranked[:3])
    return BadInput(
        "data.which_table",
        say("What the rows of '{file}' are is not certain: {tables}.", file=file, tables=shown),
        remedy=say("Say which is meant: --as {table}", table=ranked[0].table),
        where={"file": file, "value": ", ".join(candidate.table for candidate in ranked)},
    )


def refuse_messages(file: str, profiles: dict[str, Profile]) -> None:
    """BadInput for messages of programs (Segment): only ``track`` is a row, and ``data events add`` knows them all."""
    kinds = {value.casefold() for value in profiles["type"].values} if "type" in profiles else set()
    if "messageId" in profiles and kinds & _MESSAGES:
        raise BadInput(
            "data.messages",
            say(
                "'{file}' holds messages of programs, not rows: {kinds}.",
                file=file,
                kinds=join_list(sorted(kinds)),
            ),
            remedy=say("Take them in with: aimwell data events add FILE"),
            where={"file": file, "column": "type", "value": ", ".join(sorted(kinds))},
        )


_MESSAGES = frozenset({"identify", "page", "screen", "group", "alias"})


Found = dict[str, Match]


def _sure(found: Found, *fields: str) -> float:
    """The lowest confidence of ``fields``; 0 when one is missing."""
    return min((found[name].confidence if name in found else 0.0 for name in fields), default=0.0)


def _score_base(found: Found, moment: str) -> float:
    """Who and when. A date says less by its name than a customer does: any header will do for it."""
    when = _sure(found, moment)
    return _sure(found, "customer_id") * (0.6 + 0.4 * when) if when else 0.0


def _score_orders(found: Found) -> float:
    base = _score_base(found, "ordered_at")
    facts = max(_sure(found, name) for name in _ORDER_FACTS)
    goods = max(_sure(found, "product_id"), _sure(found, "product_name"))
    if facts >= 0.8:
        return base
    return base * (0.8 if goods >= 0.8 or facts else 0.35)


def _score_events(found: Found, profiles: dict[str, Profile]) -> float:
    base = _score_base(found, "occurred_at")
    name = _sure(found, "name")
    if _sure(found, "occurred_at") < 0.8 and _are_unique(found, profiles, "customer_id", "name"):
        # What happens repeats itself: these are people with their names, and some date of theirs.
        return base * 0.5
    if name >= 0.8:
        return min(base, name) + 0.04
    # What happened may be the same for all rows, which a person must say.
    return base * (0.65 if name or "campaign_id" in found else 0.5)


def _are_unique(found: Found, profiles: dict[str, Profile], *fields: str) -> bool:
    columns = [found[name].column for name in fields if name in found]
    return len(columns) == len(fields) and all(name and profiles[name].unique for name in columns)


def _score_consents(found: Found) -> float:
    return _sure(found, "customer_id", "channel", "allowed")


def _score_signals(found: Found) -> float:
    said = max(_sure(found, "score"), _sure(found, "text"))
    base = _sure(found, "customer_id", "given_at")
    return min(base, said) if said >= 0.8 else 0.0


def _score_products(found: Found, customers: Found, profiles: dict[str, Profile]) -> float:
    key = found.get("product_id")
    if key is None or key.column is None or not profiles[key.column].unique:
        return 0.0
    if _sure(customers, "customer_id") >= 0.9:
        return 0.0
    facts = sum(name in found for name in _PRODUCT_FACTS)
    return min(0.95, key.confidence * (0.75 + 0.1 * min(facts, 3)))


def _score_customers(found: Found, profiles: dict[str, Profile], facts: float, *, payments: bool) -> float:
    key = found.get("customer_id")
    if key is None or key.column is None:
        # People without a number are still told by how they can be reached.
        return 0.3 if any(name in found for name in _CONTACTS) else 0.0
    if not profiles[key.column].unique:
        return 0.2 * key.confidence
    contacts = any(name in found for name in _CONTACTS)
    if payments and not contacts and fold_header(key.column) in ROW_NAMES:
        # The number of a payment, not of a person.
        return 0.5 * key.confidence
    # Orders of which each is another customer's: a short file, or a file of facts.
    return key.confidence * (1.0 if contacts or facts < 0.8 else 0.5)
