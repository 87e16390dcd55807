"""Instants as people write and read them: on the business's clock, whose zone is in the settings."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from aimwell.cli.output import state
from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.core.time import zone


def show_instant(context: typer.Context, instant: datetime | int | None) -> str:
    """To the minute: a consent of its first of March must not seem to be of February. An integer is ms since 1970."""
    if instant is None:
        return ""
    if isinstance(instant, int):
        instant = datetime.fromtimestamp(instant / 1000, UTC)
    here = zone(state(context).workspace.settings.business.zone)
    return f"{instant.astimezone(here):%Y-%m-%d %H:%M}"


def read_instant(context: typer.Context, option: str, value: str | None) -> datetime | None:
    """An instant given as ISO 8601 in UTC, or with a space for its T; without a zone it is the business's.

    BadInput when it is none.
    """
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value.strip())
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=zone(state(context).workspace.settings.business.zone))
        return instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadInput(
            "cli.bad_instant",
            say("{option} '{value}' is no instant.", option=option, value=value),
            remedy=say(
                "Write it as 2026-01-31 18:30, on the business's clock, or as 2026-01-31T18:30:00+08:00."
            ),
            where={"value": value},
        ) from error
