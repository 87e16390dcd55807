"""The store's tables of journeys: journeys, who is in them, what they wait for."""

from __future__ import annotations
