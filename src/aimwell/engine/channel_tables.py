"""The store's tables of channels: what channels keep: in-app messages, tasks of the call centre, answers of providers."""

from __future__ import annotations
