"""What people call the tables and columns that findings and lists name. Reads and writes no table."""

from __future__ import annotations

from collections.abc import Mapping

from aimwell.core.tables import TABLES
from aimwell.core.text import Text, say
from aimwell.data.mapping import FIELD_TITLES

_COLUMNS: Mapping[str, Text] = {
    "line_id": say("number of the order line"),
    "ordered_on": say("day of the order"),
    "ordered_hour": say("hour of the order"),
    "occurred_on": say("day of the event"),
    "properties": say("properties of the event"),
    "source": say("source"),
}
_TABLES: Mapping[str, Text] = {
    "customers": say("customer records"),
    "products": say("list of products"),
    "order_lines": say("order lines"),
    "events": say("events"),
    "consents": say("consents"),
    "signals": say("answers and complaints"),
    "identifiers": say("identifiers"),
    "identity_links": say("decisions on who is one person"),
    "identities": say("joined records"),
    "sources": say("deliveries of sources"),
    "quality": say("quality findings"),
    "quality_history": say("quality of earlier loads"),
    "rejects": say("rows set aside"),
    "erasures": say("keys that keep erased people out"),
    "tags": say("tags"),
    "tag_history": say("earlier values of tags"),
    "segments": say("segments"),
    "segment_members": say("members of segments"),
    "scores": say("scores of models"),
    "effects": say("estimated effects of actions"),
    "recommendations": say("recommended products"),
    "plan_items": say("planned actions"),
    "assignments": say("arms of experiments"),
    "exposures": say("live decisions that were or were not shown"),
    "deliveries": say("deliveries"),
    "outcomes": say("outcomes of experiments"),
    "lessons": say("lessons"),
    "event_profiles": say("what messages say about people"),
    "files": say("other files of the workspace"),
}
_STORE: Mapping[str, Text] = {
    "consent_states": say("answers about consent, for sending"),
    "coupon_issues": say("coupons that were issued"),
    "deliveries": say("ledger of deliveries"),
    "live_decisions": say("live decisions"),
    "live_profiles": say("what live decisions know of customers"),
    "live_changes": say("entries into live segments and exits"),
    "live_members": say("members of live segments"),
    "journey_enrolments": say("people in journeys"),
    "suppressions": say("suppression list"),
    "own_preferences": say("what customers chose on the preference page"),
    "preference_changes": say("changes of preferences, with their proof"),
    "topic_refusals": say("topics that customers do not want"),
    "tracking_hits": say("opens and clicks"),
    "short_links": say("short links of SMS"),
    "words": say("words in definitions and records"),
    "in_app_messages": say("messages in the app"),
    "provider_messages": say("numbers and reports of SMS providers"),
    "channel_events": say("what channels learned, on its way to events"),
    "call_tasks": say("tasks of the desk"),
    "call_attempts": say("calls that were made"),
    "visits": say("visits of account managers"),
}


def name_column(table: str, column: str) -> Text | None:
    """A declared column in words; None for one that a source brought, which has its source's own name."""
    if table not in TABLES or column not in {declared.name for declared in TABLES[table].columns}:
        return None
    if (table, column) == ("events", "name"):
        return say("name of the event")
    return _COLUMNS.get(column) or FIELD_TITLES.get(column)


def name_place(place: str) -> Text | str:
    """Where rows stand, in words: a table, ``files``, or one of the store's (``store:…``, ``store_…``)."""
    for prefix in ("store:", "store_"):
        if place.startswith(prefix):
            name = place.removeprefix(prefix)
            return _STORE.get(name, name)
    return _TABLES.get(place, place)
