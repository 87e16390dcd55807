"""Time: instants are UTC with zone; days belong to the business's calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aimwell.core.errors import BadInput
from aimwell.core.text import say


def now() -> datetime:
    """The current instant."""
    return datetime.now(UTC)


def zone(name: str) -> ZoneInfo:
    """The zone called ``name``; BadInput when the time-zone database does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadInput(
            "core.unknown_zone",
            say("The time zone '{zone}' is not known.", zone=name),
            remedy=say("Use a name such as Asia/Shanghai or Europe/Berlin."),
            where={"value": name},
        ) from error


def business_day(instant: datetime, zone_name: str) -> date:
    """The business's calendar day on which ``instant`` falls."""
    return instant.astimezone(zone(zone_name)).date()


def find_knowledge_end(day: date, zone_name: str) -> datetime:
    """Until when consents count for a plan of ``day``: its first instant, or now where that is later.

    A plan is carried out now. Whoever gave consent this morning may be contacted although the newest orders,
    from which the plan's day follows, are of yesterday or older; whoever withdrew it may not.
    """
    return max(datetime.combine(day, time(), zone(zone_name)).astimezone(UTC), now())


@dataclass(frozen=True)
class Window:
    """Business days from ``start`` up to but not including ``end``."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise BadInput(
                "core.empty_window",
                say(
                    "The window from {start} to {end} holds no day.",
                    start=self.start.isoformat(),
                    end=self.end.isoformat(),
                ),
                remedy=say("Choose an end after the start."),
            )

    @property
    def days(self) -> int:
        """How many days the window holds."""
        return (self.end - self.start).days

    @classmethod
    def before(cls, day: date, days: int) -> Window:
        """The ``days`` days that end just before ``day``."""
        return cls(day - timedelta(days=days), day)

    @classmethod
    def after(cls, day: date, days: int) -> Window:
        """The ``days`` days that start with ``day``."""
        return cls(day, day + timedelta(days=days))
