"""Tags of what passes between a customer and us: coupons, messages, visits, complaints; channels known and allowed.

The first group is measured on events. The second comes from customers and consents (purpose marketing, as they
stood when the business day ``as_of`` began).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from aimwell.analysis.person_tags import DAYS, REACHED_BY, render_days, render_person
from aimwell.analysis.tag import Tag, count_events, define_tag
from aimwell.core.tables import CUSTOMERS, Type
from aimwell.core.text import Text, say
from aimwell.core.time import zone
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.specification import Aggregate, Condition, DaysSince, Measure, Window
from aimwell.engine.sql_text import Binder, Query, quote_name, with_parts
from aimwell.engine.tag_plan import Among

SENT = "Message Sent"
OPENED = "Message Opened"
CLICKED = "Message Clicked"
REDEEMED = "Coupon Redeemed"
VIEWED = "Product Viewed"
COMPLAINED = "Complaint Filed"
CONSENT_CHANNELS = ("email", "sms", "call", "mail")

PERMISSIONS = "tags_allowed"
"""The table in memory that holds what ``compile_permissions`` answers, for ``compile_contacts`` to read."""
_PERMISSIONS = """\
WITH spoken AS (
{spoken}
)
SELECT
    customer_id,
{consents}
FROM spoken
GROUP BY customer_id
ORDER BY customer_id"""
_CONTACTS = """\
{parts}
SELECT
    c.customer_id,
{told},
{columns}
FROM told AS c
LEFT JOIN {permissions} AS a ON a.customer_id = c.customer_id{joins}
ORDER BY c.customer_id"""
TOLD = ("email_known", "phone_known", "address_known")
"""The tags that say which addresses a row of customers holds."""
_TOLD = """\
    SELECT {read}
    FROM customers AS d{among}"""


def define_event_count(name: str, event: str, days: int, title: Text, description: Text) -> Tag:
    """How often an event happened in the last ``days`` days."""
    # What we send ourselves is always known; what others report is known once it was reported at all.
    needs = ("customers",) if event == SENT else (f"events:{event}",)
    return define_tag(name, Measure(count_events(event, days)), title, description, unit="times", needs=needs)


def define_days_since(name: str, event: str, title: Text, description: Text) -> Tag:
    """Days since an event happened last."""
    spec = DaysSince("events", "last", (Condition("name", "=", event),))
    needs = ("customers",) if event == SENT else (f"events:{event}",)
    return define_tag(name, spec, title, description, unit="days", needs=needs)


def _define_coupons() -> tuple[Tag, ...]:
    counts = [
        define_event_count(
            f"coupon_redemptions_{days}d",
            REDEEMED,
            days,
            say("Coupons redeemed in {days} days", days=days),
            say("Coupons and offers redeemed in the last {days} days.", days=days),
        )
        for days in (90, 365)
    ]
    since = define_days_since(
        "days_since_coupon",
        REDEEMED,
        say("Days since the last coupon"),
        say("Days from the last redeemed coupon to today."),
    )
    return (*counts, since)


def _define_messages() -> tuple[Tag, ...]:
    received = [
        define_event_count(
            f"messages_received_{days}d",
            SENT,
            days,
            say("Messages received in {days} days", days=days),
            say("Marketing messages that we sent in the last {days} days.", days=days),
        )
        for days in (28, 90, 365)
    ]
    return (
        *received,
        define_days_since(
            "days_since_message",
            SENT,
            say("Days since the last message"),
            say("Days from the last marketing message to today."),
        ),
        define_event_count(
            "messages_opened_90d",
            OPENED,
            90,
            say("Messages opened in {days} days", days=90),
            say("Marketing messages that were opened in the last {days} days.", days=90),
        ),
        define_event_count(
            "messages_clicked_90d",
            CLICKED,
            90,
            say("Messages clicked in {days} days", days=90),
            say("Marketing messages with a click in the last {days} days.", days=90),
        ),
    )


def _define_activity() -> tuple[Tag, ...]:
    own = (Condition("name", "!=", SENT),)
    return (
        *(
            define_tag(
                f"events_{days}d",
                Measure(Aggregate("events", "count", None, own, Window(days))),
                say("Events in {days} days", days=days),
                say(
                    "Everything that the customer did, other than orders, in the last {days} days.", days=days
                ),
                unit="times",
                needs=("events",),
            )
            for days in (30, 90)
        ),
        define_tag(
            "days_since_event",
            DaysSince("events", "last", own),
            say("Days since the last event"),
            say("Days from the customer's last event, other than orders, to today."),
            unit="days",
            needs=("events",),
        ),
        define_event_count(
            "product_views_30d",
            VIEWED,
            30,
            say("Products viewed in {days} days", days=30),
            say("Product pages that the customer looked at in the last {days} days.", days=30),
        ),
        define_event_count(
            "complaints_365d",
            COMPLAINED,
            365,
            say("Complaints in {days} days", days=365),
            say("Complaints that the customer made in the last {days} days.", days=365),
        ),
    )


def _describe(name: str, title: Text, description: Text, kind: Type, needs: str) -> Tag:
    return Tag(name, title, description, "descriptive", "", kind, (needs,))


def _define_known() -> tuple[Tag, ...]:
    titles = {
        "email": say("Consent to e-mail"),
        "sms": say("Consent to SMS"),
        "call": say("Consent to calls"),
        "mail": say("Consent to direct mail"),
    }
    explained = say("The customer's latest word on marketing through this channel; unknown if never asked.")
    return (
        _describe(
            "email_known", say("E-mail known"), say("We have an e-mail address."), Type.BOOLEAN, "customers"
        ),
        _describe(
            "phone_known", say("Phone known"), say("We have a telephone number."), Type.BOOLEAN, "customers"
        ),
        _describe(
            "address_known", say("Address known"), say("We have a postal address."), Type.BOOLEAN, "customers"
        ),
        *(
            _describe(f"consent_{channel}", titles[channel], explained, Type.BOOLEAN, f"consents:{channel}")
            for channel in CONSENT_CHANNELS
        ),
    )


EVENT_TAGS: tuple[Tag, ...] = (*_define_coupons(), *_define_messages(), *_define_activity())
"""Tags measured on events, in the order in which people read them."""
KNOWN_TAGS: tuple[Tag, ...] = _define_known()
"""Tags of customers and consents, in the order in which people read them."""


def define_attributes(columns: list[str]) -> tuple[Tag, ...]:
    """A descriptive tag for every attribute that sources delivered, and for the region."""
    declared = {column.name for column in CUSTOMERS.columns}
    attributes = [name for name in columns if name not in declared or name == "region"]
    return tuple(
        _describe(
            f"attribute_{name}",
            say("Attribute {name}", name=say("region") if name == "region" else name.replace("_", " ")),
            say("As delivered with the customer."),
            Type.TEXT,
            f"customers.{name}",
        )
        for name in attributes
    )


def compile_permissions(*, as_of: date, zone_name: str, people: str | None = None) -> Query:
    """One query: who allows or refuses marketing through each channel, as ``email_allowed`` (1 or 0)…

    ``people``: a table of the only customers who are asked for.
    """
    consents = [
        f"    MAX(CASE WHEN channel = '{name}' THEN CASE WHEN allowed THEN 1 ELSE 0 END END) AS {name}_allowed"
        for name in CONSENT_CHANNELS
    ]
    where = None if people is None else f"customer_id IN (SELECT customer_id FROM {people})"
    spoken = select_consents(purpose="marketing", where=where)
    sql = _PERMISSIONS.format(spoken=spoken, consents=",\n".join(consents))
    return Query(sql, bind_instant(_start_day(as_of, zone_name), before=True))


def compile_spoken(*, before: date, as_of: date, zone_name: str) -> Query:
    """One query: the customers of whom any permission or refusal began or ended from one day to the other."""
    tests = " OR ".join(
        f"({name} >= $spoken_from AND {name} <= $spoken_until)" for name in ("since", "until")
    )
    sql = f"SELECT DISTINCT customer_id FROM consents WHERE purpose = 'marketing' AND ({tests})"
    days = {"spoken_from": _start_day(before, zone_name), "spoken_until": _start_day(as_of, zone_name)}
    return Query(sql, days)


def compile_days(*, as_of: date, person: Mapping[str, str]) -> tuple[str, list[str]]:
    """One query: a row per row of customers, with the tags that every day can change; and the names of these."""
    days = {meaning: column for meaning, column in person.items() if meaning in DAYS}
    columns = render_person(days, as_of)
    read = ", ".join(f"d.{quote_name(name)}" for name in dict.fromkeys(("customer_id", *days.values())))
    found = render_days(days, as_of, "told")
    parts = {"told": _TOLD.format(read=read, among="")} | {name: sql for name, (sql, _) in found.items()}
    shown = ", ".join(f"{text} AS {quote_name(name)}" for name, text in columns.items())
    joins = " ".join(join for _, join in found.values())
    return f"{with_parts(parts)}\nSELECT c.customer_id, {shown}\nFROM told AS c {joins}", list(columns)


def compile_told(attributes: tuple[Tag, ...]) -> str:
    """One query: a row per row of customers, with ``TOLD`` and the attributes as it holds them, whatever the day."""
    shown = [*_render_told(), *_render_attributes(attributes)]
    return f"SELECT\n    c.customer_id,\n{f',{chr(10)}'.join(shown)}\nFROM customers AS c"


def _render_told() -> list[str]:
    return [f"    COALESCE(c.{name.removesuffix('_known')} <> '', FALSE) AS {name}" for name in TOLD]


def _render_attributes(attributes: tuple[Tag, ...]) -> list[str]:
    sources = {tag.name: quote_name(tag.name.removeprefix("attribute_")) for tag in attributes}
    return [f"    CAST(c.{source} AS VARCHAR) AS {quote_name(name)}" for name, source in sources.items()]


def _start_day(day: date, zone_name: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone(zone_name))


def compile_contacts(
    attributes: tuple[Tag, ...], *, as_of: date, person: Mapping[str, str], among: Among
) -> Query:
    """One query: a row per row of customers, sorted, a column per tag of ``KNOWN_TAGS``, ``person`` and attributes.

    It reads ``PERMISSIONS``. ``person``: what is known of a person → the column of customers that holds it.
    """
    binder = Binder()
    columns = [f"    a.{name}_allowed = 1 AS consent_{name}" for name in CONSENT_CHANNELS]
    columns += _render_attributes(attributes)
    columns += [f"    {text} AS {quote_name(name)}" for name, text in render_person(person, as_of).items()]
    columns += _render_reach()
    sources = [tag.name.removeprefix("attribute_") for tag in attributes]
    read = dict.fromkeys(("customer_id", "email", "phone", "address", *sources, *person.values()))
    tests = " AND ".join(among.render("d.customer_id", binder))
    told = _TOLD.format(
        read=", ".join(f"d.{quote_name(name)}" for name in read),
        among=f"\n    WHERE {tests}" if tests else "",
    )
    days = render_days(person, as_of, "told")
    parts = {"told": told} | {name: sql for name, (sql, _) in days.items()}
    sql = _CONTACTS.format(
        parts=with_parts(parts),
        told=",\n".join(_render_told()),
        columns=",\n".join(columns),
        permissions=PERMISSIONS,
        joins="".join(f"\n{join}" for _, join in days.values()),
    )
    return Query(sql, binder.values)


def _render_reach() -> list[str]:
    tests = {
        channel: f"CASE WHEN c.{column} <> '' AND a.{channel}_allowed = 1 THEN {{}} ELSE {{}} END"
        for channel, column in REACHED_BY.items()
    }
    each = [f"    {test.format('TRUE', 'FALSE')} AS contactable_{channel}" for channel, test in tests.items()]
    total = " + ".join(test.format(1, 0) for test in tests.values())
    return [*each, f"    {total} AS channels_contactable"]
