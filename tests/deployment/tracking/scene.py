"""What the tests of tracking stand on: stores on both databases, deliveries that were sent, endpoints, requests."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from aimwell.core.text import Language
from aimwell.deployment.ledger_rows import Intended, build_row
from aimwell.deployment.tracking.endpoints import Hit, Manner, Tracking
from aimwell.deployment.tracking.keys import Keyring
from aimwell.deployment.tracking.pages import Title
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import ConsentState, remember_consents
from aimwell.engine.store import Store
from tests.deployment.scene import intend

SECRET = b"a secret of the test, long enough"
RING = Keyring.of(SECRET)
BASE = "https://post.example/a"
AT = 1_767_225_600_000
"""2026-01-01 00:00 UTC; the deliveries were sent an hour before."""
HOUR = 3_600_000
PERSON = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
)
TOPICS = {"offers": Title.of(en="Offers", zh="优惠"), "news": Title.of(en="News", zh="新品")}


def identify(customer: str = "c1", channel: str = "email") -> str:
    return intend(customer, channel=channel).delivery_id


def send(store: Store, customer: str = "c1", channel: str = "email", **values: Any) -> str:
    """A delivery that was handed over an hour ago; its id."""
    item: Intended = intend(customer, channel=channel)
    sent = {"state": "sent", "finished_at_ms": AT - HOUR, **values}
    with store.begin() as connection:
        connection.execute(sa.insert(DELIVERIES), [build_row(item, AT - 2 * HOUR)])
        connection.execute(
            sa.update(DELIVERIES).where(DELIVERIES.c.delivery_id == item.delivery_id).values(**sent)
        )
    return item.delivery_id


def permit(store: Store, customer: str = "c1", *channels: str) -> None:
    with store.begin() as connection:
        remember_consents(
            connection, [ConsentState(customer, one, True, 1) for one in channels or ("email",)]
        )


def open_tracking(store: Store, *, language: Language = "en", **manner: Any) -> Tracking:
    return Tracking(store, lambda: RING, Manner("Shop & <Co>", language, **manner), None)


def ask(at_ms: int = AT, method: str = "GET", **values: Any) -> Hit:
    """A request of a person's phone."""
    return Hit(**{"at_ms": at_ms, "method": method, "address": "203.0.113.9", "agent": PERSON, **values})
