"""The store's tables of content: contents by version, and coupons."""

from __future__ import annotations
