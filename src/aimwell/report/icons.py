"""The report's own small icons: strokes on a 24 × 24 grid."""

from __future__ import annotations

from aimwell.report.markup import Html

_PATHS = {
    "brand": "M12 3a9 9 0 1 0 .01 0z M12 8a4 4 0 1 0 .01 0z M12 1v4 M12 19v4 M1 12h4 M19 12h4",
    "overview": "M4 19a9 9 0 1 1 16 0 M12 14l4-5 M12 14h.01",
    "goal": "M5 21V4h11l-2 4 2 4H5",
    "data": "M4 6c0-4 16-4 16 0s-16 4-16 0v12c0 4 16 4 16 0V6 M4 12c0 4 16 4 16 0",
    "analysis": "M4 20V4 M4 20h16 M8 16v-5 M12 16V7 M16 16v-3 M20 16V9",
    "models": "M12 3v6 M12 15v6 M5 8l4.5 2.5 M14.5 13.5L19 16 M5 16l4.5-2.5 M14.5 10.500L19 8",
    "strategy": "M6 4v8 M6 16v4 M12 4v2 M12 10v10 M18 4v10 M18 18v2 M4 14h4 M10 8h4 M16 16h4",
    "deployment": "M4 20l5-5 M20 4c-6 0-10 3-12 8l4 4c5-2 8-6 8-12z M8 12H4l3-4 M12 16v4l4-3",
    "evaluation": "M6 4h12v17H6z M9 4V2h6v2 M9 13l2 2 4-4",
    "experiment": "M9 3h6 M10 3v6l-5 9c-1 2 0 3 2 3h10c2 0 3-1 2-3l-5-9V3 M8 15h8",
    "language": "M3 6h9 M7.500 4v2 M10 6c-1 4-4 7-7 8 M5 9c1 2 3 4 5 5 M12 20l4.500-10L21 20 M13.500 17h6",
    "print": "M7 9V3h10v6 M7 17H4v-8h16v8h-3 M7 14h10v7H7z",
}


def draw_icon(name: str) -> Html:
    """The icon of that name, hidden from screen readers: a word stands beside it."""
    return Html(
        '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
        f'<path d="{_PATHS[name]}"/></svg>'
    )
