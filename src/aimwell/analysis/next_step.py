"""What we would do next for one customer, and why: from the plan, else from proven effects, else from the stage.

Works on the page of ``analysis.profile``; reads and writes no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say

_BY_STAGE: dict[str, tuple[Text, Text]] = {
    "prospect": (
        say("Invite to a first order, by the cheapest channel that is allowed."),
        say("Nothing was bought yet, so that little is known and little is at stake."),
    ),
    "new": (
        say(
            "Make the second order easy: a reminder after the usual interval, with what goes with the first."
        ),
        say("The second order decides who stays."),
    ),
    "active": (
        say("Leave alone, or show what similar customers also buy; give no discount."),
        say("Buys at the usual rhythm: a discount would mostly be given away."),
    ),
    "declining": (
        say("Remind now, and test an incentive on a random half of such customers."),
        say("Buys later than the own rhythm: the habit can still be kept."),
    ),
    "dormant": (
        say("One offer on what used to be bought; then let it rest."),
        say("Long silent, measured on the own rhythm."),
    ),
    "lost": (
        say("Nothing that costs more than a message."),
        say("Silent for so long that few come back."),
    ),
}
_SURE = 1.96
_NO_INTEREST = frozenset(
    {
        # Who somebody is: calls of Segment's clients, which need no deed of the customer.
        "User Identified",
        "Group Joined",
        "User Aliased",
        # What we did, and what became of it.
        "Message Sent",
        "Message Delivered",
        "Message Failed",
        "Email Sent",
        "Email Delivered",
        "Email Bounced",
        "Letter Returned",
        "Campaign Received",
        "Coupon Received",
        "Reply Handled",
        "Hit Judged Anew",
        # What machines do, and people who want less.
        "Hidden Link Followed",
        "Message Dismissed",
        "Email Marked as Spam",
        "Unsubscribed",
        "Consent Withdrawn",
        "Topic Refused",
    }
)
"""Events that are no deed of a customer which shows interest."""


def decide_next(profile: Mapping[str, Any]) -> dict[str, Any]:
    """``what`` and ``why`` in both languages, on what ``basis``, and the channels that are allowed."""
    channels = sorted(
        row["channel"] for row in profile["consents"] if row["allowed"] and row["purpose"] == "marketing"
    )
    what, why, basis = _choose(profile)
    return {"what": what, "why": why, "basis": basis, "channels": channels}


def _choose(profile: Mapping[str, Any]) -> tuple[Any, Any, str]:
    complaint = next((row for row in profile["signals"] if row["kind"] == "complaint"), None)
    if complaint is not None:
        words = say(
            "Answer the complaint of {day} before any marketing.", day=complaint["given_on"].isoformat()
        )
        return (
            words.both(),
            say("An offer to somebody who waits for an answer does harm.").both(),
            "complaint",
        )
    if profile["plan_items"]:
        item = profile["plan_items"][0]
        return item["title"] or item["action_id"], item["reason"], "plan"
    best = next(iter(profile["effects"]), None)
    if best is not None and best["estimate"] > _SURE * best["standard_error"]:
        why = say(
            "Expected to earn {gain} more than without (standard error {error}), learnt from experiments.",
            gain=f"{best['estimate']:.2f}",
            error=f"{best['standard_error']:.2f}",
        )
        return best["title"] or best["action_id"], why.both(), "effect"
    return _choose_by_stage(profile)


def _choose_by_stage(profile: Mapping[str, Any]) -> tuple[Any, Any, str]:
    stage = next((row["value"] for row in profile["tags"] if row["name"] == "lifecycle_stage"), None)
    unsettled = stage in (None, "prospect")
    if unsettled and profile["orders"]:
        what = say("Compute the tags anew, to know at what stage this customer is: aimwell analysis run")
        return what.both(), say("There are orders that the tags do not know yet.").both(), "stage"
    last = next(filter(_shows_interest, profile["timeline"]), None)
    if unsettled and last is not None:
        what = say(
            "Follow up on '{event}' of {day} while it is fresh.",
            event=last["what"],
            day=last["day"].isoformat(),
        )
        return what.both(), say("It is the newest sign of interest; no order is known.").both(), "activity"
    what, why = _BY_STAGE[stage or "prospect"]
    return what.both(), why.both(), "stage"


def _shows_interest(row: Mapping[str, Any]) -> bool:
    return row["what"] not in _NO_INTEREST and not row["by_machine"]
