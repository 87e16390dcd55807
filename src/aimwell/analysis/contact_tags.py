"""Tags of what passes between a customer and us: coupons, messages, visits, complaints; channels known and allowed.

The first group is measured on events. The second comes from customers and consents (purpose marketing; the latest
word before ``as_of`` wins, and a withdrawal at the same instant wins over a permission).
"""

from __future__ import annotations

from datetime import date, datetime

from aimwell.analysis.tag import Tag, count_events, define_tag
from aimwell.core.tables import CUSTOMERS, Type
from aimwell.core.text import Text, say
from aimwell.core.time import zone
from aimwell.engine.specification import Aggregate, Condition, DaysSince, Measure, Window
from aimwell.engine.sql_text import Query, quote_name

SENT = "Message Sent"
OPENED = "Message Opened"
CLICKED = "Message Clicked"
REDEEMED = "Coupon Redeemed"
VIEWED = "Product Viewed"
COMPLAINED = "Complaint Filed"
CONSENT_CHANNELS = ("email", "sms", "call", "mail")

_CONTACTS = """\
WITH spoken AS (
    SELECT
        customer_id,
        channel,
        allowed,
        ROW_NUMBER() OVER (
            PARTITION BY customer_id, channel
            ORDER BY since DESC, CASE WHEN allowed THEN 1 ELSE 0 END
        ) AS place
    FROM consents
    WHERE purpose = 'marketing' AND since < $start_of_day
),
allowed AS (
    SELECT
        customer_id,
{consents}
    FROM spoken
    WHERE place = 1
    GROUP BY customer_id
)
SELECT
    c.customer_id,
    COALESCE(c.email <> '', FALSE) AS email_known,
    COALESCE(c.phone <> '', FALSE) AS phone_known,
    COALESCE(c.address <> '', FALSE) AS address_known,
{columns}
FROM customers AS c
LEFT JOIN allowed AS a ON a.customer_id = c.customer_id"""


def _define_event_count(name: str, event: str, days: int, title: Text, description: Text) -> Tag:
    # What we send ourselves is always known; what others report is known once it was reported at all.
    needs = ("customers",) if event == SENT else (f"events:{event}",)
    return define_tag(name, Measure(count_events(event, days)), title, description, unit="times", needs=needs)


def _define_days_since(name: str, event: str, title: Text, description: Text) -> Tag:
    spec = DaysSince("events", "last", (Condition("name", "=", event),))
    needs = ("customers",) if event == SENT else (f"events:{event}",)
    return define_tag(name, spec, title, description, unit="days", needs=needs)


def _define_coupons() -> tuple[Tag, ...]:
    counts = [
        _define_event_count(
            f"coupon_redemptions_{days}d",
            REDEEMED,
            days,
            say("Coupons redeemed in {days} days", days=days),
            say("Coupons and offers redeemed in the last {days} days.", days=days),
        )
        for days in (90, 365)
    ]
    since = _define_days_since(
        "days_since_coupon",
        REDEEMED,
        say("Days since the last coupon"),
        say("Days from the last redeemed coupon to today."),
    )
    return (*counts, since)


def _define_messages() -> tuple[Tag, ...]:
    received = [
        _define_event_count(
            f"messages_received_{days}d",
            SENT,
            days,
            say("Messages received in {days} days", days=days),
            say("Marketing messages that we sent in the last {days} days.", days=days),
        )
        for days in (28, 365)
    ]
    return (
        *received,
        _define_days_since(
            "days_since_message",
            SENT,
            say("Days since the last message"),
            say("Days from the last marketing message to today."),
        ),
        _define_event_count(
            "messages_opened_90d",
            OPENED,
            90,
            say("Messages opened in {days} days", days=90),
            say("Marketing messages that were opened in the last {days} days.", days=90),
        ),
        _define_event_count(
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
        define_tag(
            "events_30d",
            Measure(Aggregate("events", "count", None, own, Window(30))),
            say("Events in {days} days", days=30),
            say("Everything that the customer did, other than orders, in the last {days} days.", days=30),
            unit="times",
            needs=("events",),
        ),
        define_tag(
            "days_since_event",
            DaysSince("events", "last", own),
            say("Days since the last event"),
            say("Days from the customer's last event, other than orders, to today."),
            unit="days",
            needs=("events",),
        ),
        _define_event_count(
            "product_views_30d",
            VIEWED,
            30,
            say("Products viewed in {days} days", days=30),
            say("Product pages that the customer looked at in the last {days} days.", days=30),
        ),
        _define_event_count(
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
            say("Attribute {name}", name=name.replace("_", " ")),
            say("As delivered with the customer."),
            Type.TEXT,
            f"customers.{name}",
        )
        for name in attributes
    )


def compile_contacts(attributes: tuple[Tag, ...], *, as_of: date, zone_name: str) -> Query:
    """One query: a row per row of customers, a column per tag of ``KNOWN_TAGS`` and per attribute."""
    consents = [
        f"        MAX(CASE WHEN channel = '{name}' THEN CASE WHEN allowed THEN 1 ELSE 0 END END) AS {name}_allowed"
        for name in CONSENT_CHANNELS
    ]
    columns = [f"    a.{name}_allowed = 1 AS consent_{name}" for name in CONSENT_CHANNELS]
    for tag in attributes:
        source = quote_name(tag.name.removeprefix("attribute_"))
        columns.append(f"    CAST(c.{source} AS VARCHAR) AS {quote_name(tag.name)}")
    sql = _CONTACTS.format(consents=",\n".join(consents), columns=",\n".join(columns))
    start = datetime(as_of.year, as_of.month, as_of.day, tzinfo=zone(zone_name))
    return Query(sql, {"start_of_day": start})
