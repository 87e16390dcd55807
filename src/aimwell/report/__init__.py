"""The report of a round: one HTML file, without network, in Chinese and English, drawn from ``report.json``.

``render(payload, currency="USD")`` is all that others need. It reads no table: what it shows is in the
payload, and what the payload lacks is taught in its place.
"""

from aimwell.report.page import render

__all__ = ["render"]
