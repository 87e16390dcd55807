"""Tells Aimwell which lots of fresh food come near their date, and to whom that matters: who buys that food.

``python examples/food_expiry.py WORKSPACE lots.csv`` joins the shop's list of lots (lot, product_id, expires_on,
units) with the orders in the workspace, and posts an event 'Lot Near Expiry' for everybody who bought the product at
least twice in the last 60 days. Posting the same list again changes nothing: an event's id is the lot and the customer.
"""

from __future__ import annotations

import csv
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from aimwell.data.event_intake import take_events
from aimwell.engine.workspace import Workspace

BUYERS = """
SELECT o.customer_id AS customer_id, o.product_id AS product_id, p.name AS name
FROM order_lines AS o
JOIN products AS p ON p.product_id = o.product_id
WHERE o.ordered_on > $first AND o.quantity > 0
GROUP BY o.customer_id, o.product_id, p.name
HAVING COUNT(DISTINCT o.order_id) >= 2
ORDER BY o.customer_id
"""
DISCOUNT = 30
"""Percent off what would be thrown away."""


def tell_lots(workspace: Workspace, lots: Path, *, at: datetime) -> int:
    """Post the events; how many were new."""
    with workspace.read() as reader:
        buyers = reader.query(BUYERS, {"first": at.date() - timedelta(days=60)}).to_pylist()
    with lots.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    events = [
        {
            "type": "track",
            "event": "Lot Near Expiry",
            "userId": buyer["customer_id"],
            "messageId": f"lot:{row['lot']}:{buyer['customer_id']}",
            "timestamp": at.isoformat(),
            "properties": {
                "lot": row["lot"],
                "product_id": row["product_id"],
                "product_name": buyer["name"],
                "expires_on": row["expires_on"],
                "discount_percent": DISCOUNT,
            },
        }
        for row in rows
        if date.fromisoformat(row["expires_on"]) > at.date()
        for buyer in buyers
        if buyer["product_id"] == row["product_id"]
    ]
    receipts = take_events(workspace, events, source="lots", received_at=at)
    return sum(receipt.status == "accepted" for receipt in receipts)


if __name__ == "__main__":
    opened = Workspace.open(sys.argv[1])
    print(tell_lots(opened, Path(sys.argv[2]), at=datetime.now(UTC)))
    opened.close()
