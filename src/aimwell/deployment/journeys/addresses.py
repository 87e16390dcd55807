"""Where a customer is reached, channel by channel. Reads and writes no table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.columns import CHANNELS
from aimwell.deployment.audience import find_recipient

_NAMED: Mapping[str, tuple[str, ...]] = {
    "push": ("push_subscription", "push"),
    "wechat": ("openid", "wechat_openid"),
}
"""Attributes that hold the address of a channel."""


def find_address(channel: str, customer_id: str, customer: Mapping[str, Any]) -> str | None:
    """The address for a channel; None when the customer has none. In-app messages and robots need no other."""
    if channel in ("email", "sms", "call", "mail"):
        return find_recipient(channel, customer)
    if channel in _NAMED:
        return next((str(customer[name]) for name in _NAMED[channel] if customer.get(name)), None)
    return customer_id


def list_reached(customer_id: str, customer: Mapping[str, Any]) -> frozenset[str]:
    """The channels by which the customer can be reached."""
    return frozenset(name for name in CHANNELS if find_address(name, customer_id, customer) is not None)
