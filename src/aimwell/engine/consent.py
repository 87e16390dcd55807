"""What a customer allows at an instant: the one definition that every room puts into its own query.

Per customer, channel and purpose the latest word wins that stood at the instant (``since`` not after it); of two words
at one instant the refusal; a permission that has ended (``until`` not after the instant) allows nothing, and what it
had replaced does not come back. Whoever plans a contact may ask for refusals of any time: a withdrawal counts as soon
as it is known, although the plan's day lies before it. The suppression list of the store stands above all this
(``engine.permissions``).

Reads ``consents``; writes nothing. The SQL is portable: a total order in the window, CASE, values bound.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

Purpose = Literal["marketing", "service"]

_LATEST = """\
    SELECT
        customer_id, channel, purpose, source, since, until, answered,
        CASE WHEN answered AND (until IS NULL OR until > $consent_at) THEN TRUE ELSE FALSE END AS allowed
    FROM (
        SELECT
            customer_id, channel, purpose, source, since, until, allowed AS answered,
            ROW_NUMBER() OVER (
                PARTITION BY customer_id, channel, purpose
                ORDER BY since DESC, CASE WHEN allowed THEN 1 ELSE 0 END, until, source
            ) AS place
        FROM consents
        WHERE {condition}
    ) AS spoken
    WHERE place = 1"""


def select_consents(
    *, purpose: Purpose | None = None, any_refusal: bool = False, where: str | None = None
) -> str:
    """A SELECT with one row per customer × channel × purpose, to stand in a WITH clause or in brackets.

    Columns: customer_id, channel, purpose, allowed (at the instant), answered (what was said, before it ended),
    since, until, source. Binds ``$consent_known`` and ``$consent_at``: see ``bind_instant``. ``where`` is a further
    condition on rows of ``consents``.
    """
    known = "since <= $consent_known"
    conditions = [f"({known} OR NOT allowed)" if any_refusal else known]
    if purpose is not None:
        conditions.append(f"purpose = '{purpose}'")
    if where is not None:
        conditions.append(f"({where})")
    return _LATEST.format(condition=" AND ".join(conditions))


def bind_instant(instant: datetime, *, before: bool = False) -> dict[str, datetime]:
    """The values that ``select_consents`` binds, for the state at ``instant``.

    ``before``: only what was said before ``instant`` is known (a business day that has not begun), while what ends with
    it has ended.
    """
    return {
        "consent_known": instant - timedelta(microseconds=1) if before else instant,
        "consent_at": instant,
    }
