"""Lists in sentences, as the reader's language writes them: "a, b, c" and "a、b、c"."""

from __future__ import annotations

from collections.abc import Iterable

from aimwell.core.text import Text, say


def join_list(items: Iterable[str | Text]) -> str | Text:
    """The items as one value of a message, in their order; one item as it is, an empty text of none."""
    return _join(list(items))


def _join(items: list[str | Text]) -> str | Text:
    if len(items) < 2:
        return items[0] if items else ""
    # By halves: a file may have hundreds of columns, and a message is rendered as deep as it is nested.
    middle = len(items) // 2
    return say("{first}, {rest}", first=_join(items[:middle]), rest=_join(items[middle:]))
