"""The names under which delivered attributes stand as open columns of ``customers``.

Reads headers; writes nothing.
"""

from __future__ import annotations

import re

from aimwell.core.tables import CUSTOMERS


def name_attributes(columns: tuple[str, ...]) -> dict[str, str]:
    """Column → attribute: signs become '_'; a name that is taken gets a number.

    >>> name_attributes(("Monthly Charges", "monthly-charges", "source"))
    {'Monthly Charges': 'Monthly_Charges', 'monthly-charges': 'monthly_charges_2', 'source': 'source_2'}
    """
    taken = {column.name.casefold() for column in CUSTOMERS.columns}
    named: dict[str, str] = {}
    for column in columns:
        plain = re.sub(r"\W+", "_", column).strip("_") or "attribute"
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.casefold())
        named[column] = name
    return named
