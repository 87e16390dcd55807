"""The store's tables of tracking: links, opens, clicks and replies."""

from __future__ import annotations
