"""The store's tables of service: keys of programs, and what they used."""

from __future__ import annotations
