"""Associated tags 关联 of what customers say: satisfaction, recommendation (NPS), complaints, preferences, loyalty.

Measured on signals. NPS classes as Reichheld has them: 9 and 10 promote, 7 and 8 are passive, the others detract
(The One Number You Need to Grow, Harvard Business Review, December 2003).
"""

from __future__ import annotations

from aimwell.analysis.tag import Tag, define_tag
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Function,
    Measure,
    TagSpec,
    Window,
)

_YEAR = Window(365)


def _of(kind: str) -> tuple[Condition, ...]:
    return (Condition("kind", "=", kind),)


def _signal(
    function: Function, column: str | None, conditions: tuple[Condition, ...], window: Window | None = None
) -> Measure:
    return Measure(Aggregate("signals", function, column, conditions, window))


def _define(name: str, spec: TagSpec, title: Text, description: Text, unit: str, need: str) -> Tag:
    return define_tag(name, spec, title, description, unit=unit, needs=(need,), kind="associated")


def _define_satisfaction() -> tuple[Tag, ...]:
    need, nps = "signals:satisfaction", "signals:nps"
    asked = (Condition("name", "=", "nps"),)
    classes = (
        "CASE WHEN nps_last >= 9 THEN 'promoter' WHEN nps_last >= 7 THEN 'passive' "
        "WHEN nps_last IS NOT NULL THEN 'detractor' END"
    )
    return (
        _define(
            "satisfaction_last",
            _signal("latest", "score", _of("satisfaction")),
            say("Satisfaction, last answer"),
            say("The last score of satisfaction, on the source's own scale."),
            "score",
            need,
        ),
        _define(
            "satisfaction_average_365d",
            _signal("average", "score", _of("satisfaction"), _YEAR),
            say("Satisfaction in {days} days", days=365),
            say("Mean score of satisfaction in the last {days} days.", days=365),
            "score",
            need,
        ),
        _define(
            "satisfaction_lowest_365d",
            _signal("min", "score", _of("satisfaction"), _YEAR),
            say("Lowest satisfaction in {days} days", days=365),
            say("The lowest score of satisfaction in the last {days} days.", days=365),
            "score",
            need,
        ),
        _define(
            "days_since_survey",
            DaysSince("signals", "last", _of("satisfaction")),
            say("Days since the last survey answer"),
            say("Days from the last answer about satisfaction to today."),
            "days",
            need,
        ),
        _define(
            "nps_last",
            _signal("latest", "score", asked),
            say("Recommendation, last answer"),
            say("The last answer, 0 to 10, to whether the customer would recommend us."),
            "score",
            nps,
        ),
        _define(
            "nps_class",
            Expression(classes, Type.TEXT),
            say("Recommendation class"),
            say("Promoter (9 or 10), passive (7 or 8) or detractor, by the last answer."),
            "",
            nps,
        ),
    )


def _define_complaints() -> tuple[Tag, ...]:
    need = "signals:complaint"
    return (
        _define(
            "complaints_voiced_365d",
            _signal("count", None, _of("complaint"), _YEAR),
            say("Complaints voiced in {days} days", days=365),
            say("Complaints among the customer's signals in the last {days} days.", days=365),
            "times",
            need,
        ),
        _define(
            "days_since_complaint",
            DaysSince("signals", "last", _of("complaint")),
            say("Days since the last complaint"),
            say("Days from the last voiced complaint to today."),
            "days",
            need,
        ),
        _define(
            "last_complaint_topic",
            _signal("latest", "name", _of("complaint")),
            say("Topic of the last complaint"),
            say("What the last voiced complaint was about."),
            "",
            need,
        ),
        _define(
            "has_recent_complaint",
            Expression("CASE WHEN days_since_complaint <= 30 THEN TRUE ELSE FALSE END", Type.BOOLEAN),
            say("Recent complaint"),
            say("Voiced a complaint in the last {days} days: better care than offers.", days=30),
            "",
            need,
        ),
    )


def _define_leanings() -> tuple[Tag, ...]:
    return (
        _define(
            "stated_preference",
            _signal("latest", "text", _of("preference")),
            say("Stated preference"),
            say("What the customer last said to prefer, in their own words."),
            "",
            "signals:preference",
        ),
        _define(
            "stated_loyalty",
            _signal("latest", "score", _of("loyalty")),
            say("Stated loyalty"),
            say("The last score of loyalty, on the source's own scale."),
            "score",
            "signals:loyalty",
        ),
        _define(
            "signals_365d",
            _signal("count", None, (), _YEAR),
            say("Signals in {days} days", days=365),
            say("Everything that the customer told us in the last {days} days.", days=365),
            "times",
            "signals",
        ),
    )


OPINION_TAGS: tuple[Tag, ...] = (*_define_satisfaction(), *_define_complaints(), *_define_leanings())
"""All tags of what customers say, in the order in which people read them."""
