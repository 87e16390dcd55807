"""The design of one test, before launch: arms, what can be seen, how long, when to stop, whom to hold out.

Reads what ``history`` reads; writes nothing. ``design_test`` gathers figures; ``words`` says them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.seeds import generator
from aimwell.core.text import say
from aimwell.engine.session import Queryable
from aimwell.engine.settings import Settings
from aimwell.strategy.design import draw_holdout
from aimwell.strategy.experiment.assignment import (
    Arms,
    Assignment,
    assign_clusters,
    assign_units,
    cut_strata,
    measure_imbalance,
    stratify_clusters,
)
from aimwell.strategy.experiment.history import (
    NOT_HOMED,
    History,
    read_clusters,
    read_column,
    read_labels,
    read_members,
    read_metric,
    read_prior,
)
from aimwell.strategy.experiment.holdout import Holdout, Prior, Programme, size_holdout
from aimwell.strategy.experiment.question import Question, Stopping, plan_looks
from aimwell.strategy.experiment.visible import (
    Spread,
    Trial,
    Visible,
    find_audience,
    find_days,
    find_visible,
    measure_spread,
    try_on_past,
)

LADDER = (7, 14, 28, 42, 56, 84)
"""Windows, in days, that are tried for how long a fixed audience must be watched."""


@dataclass(frozen=True)
class Guard:
    """A metric that must not be harmed: the smallest worsening that would be noticed, as a share of its level."""

    name: str
    level: float
    noticed: float | None
    limit: float

    @property
    def enough(self) -> bool:
        """Whether a worsening by ``limit`` would be noticed."""
        return self.noticed is not None and self.noticed <= self.limit


@dataclass(frozen=True)
class Sizing:
    """The holdout that earns the most, and the prior it rests on."""

    holdout: Holdout
    prior: Prior
    source: Literal["given", "lessons", "assumed"]
    visible: Visible | None
    """What a test with that holdout could see; None where nobody is held out."""


@dataclass(frozen=True)
class TestDesign:
    """All of it; effects absolute in the outcome's unit unless said."""

    __test__ = False

    question: Question
    history: History
    salt: str
    held_out: int
    assignment: Assignment
    units: tuple[str, ...]
    """What was drawn for each customer: the customer, or the cluster."""
    stratum: tuple[str, ...]
    imbalance: float
    spread: Spread
    stopping: Stopping
    visible: Visible
    wanted: float
    needed: int | None
    needed_at_half: int | None
    days_needed: int | None
    trial: Trial | None
    guards: tuple[Guard, ...]
    sizing: Sizing | None

    @property
    def strata(self) -> int:
        """How many strata there are."""
        return len(set(self.stratum))

    @property
    def enough(self) -> bool:
        """Whether the target can be seen."""
        return self.visible.smallest <= abs(self.wanted)


def design_test(
    queryable: Queryable,
    settings: Settings,
    question: Question,
    *,
    as_of: date,
    earlier: Mapping[str, tuple[str, str]] | None = None,
) -> TestDesign:
    """Design the test of ``question`` with what is known before ``as_of``; see ``history`` for what is raised.

    ``earlier``: unit → (stratum and arm) of whoever was drawn before; they keep both.
    """
    whole = _read_outcome(queryable, settings, question, as_of, question.days)
    history, held_out = _choose_audience(queryable, settings, question, whole, as_of)
    clusters, codes = _read_clusters(queryable, question, history, as_of)
    spread = measure_spread(history.outcome, history.before, codes)
    salt = f"{settings.seed}:{question.name}"
    arms = Arms.with_control(question.control_share, question.treatments)
    assignment, strata = _assign(queryable, question, history, clusters, arms, salt, as_of, earlier)
    stopping = plan_looks(question)
    visible = _find_visible(history, spread, question, stopping, question.control_share)
    wanted = question.target * spread.mean.estimate
    return TestDesign(
        question=question,
        history=history,
        salt=salt,
        held_out=held_out,
        assignment=assignment,
        units=tuple(clusters or history.customers),
        stratum=tuple(strata),
        imbalance=measure_imbalance(assignment, strata) if clusters is None else 0.0,
        spread=spread,
        stopping=stopping,
        visible=visible,
        wanted=wanted,
        needed=_find_needed(spread, wanted, question, stopping, question.control_share),
        needed_at_half=_find_needed(spread, wanted, question, stopping, 1 / (1 + question.treatments)),
        days_needed=_find_days(queryable, settings, question, history, spread, stopping, as_of),
        trial=_try(history, visible, question, settings.seed)
        if visible.skewed and clusters is None
        else None,
        guards=_check_guards(queryable, settings, question, history, as_of),
        sizing=_size(queryable, settings, question, history, spread, stopping),
    )


def _read_outcome(
    queryable: Queryable, settings: Settings, question: Question, as_of: date, days: int
) -> History:
    if question.outcome is not None:
        return read_column(queryable, question.outcome, question.covariate)
    rate = settings.business.margin_rate
    name = question.metric or "profit_per_customer"
    return read_metric(queryable, name, as_of=as_of, days=days, margin_rate=rate)


def _choose_audience(
    queryable: Queryable, settings: Settings, question: Question, history: History, as_of: date
) -> tuple[History, int]:
    if question.segment is not None:
        members = read_members(queryable, question.segment, as_of=as_of)
        history = history.keep(
            np.array([customer in members for customer in history.customers], dtype=np.bool_)
        )
    held = draw_holdout(history.customers, salt=str(settings.seed), share=settings.contact.holdout_share)
    kept = history.keep(~held)
    if len(kept.customers) < 4:
        raise NotReady(
            "strategy.no_audience",
            say("The audience has {count} customers: too few for a test.", count=len(kept.customers)),
            remedy=say("Widen the segment, or add customers."),
        )
    return kept, int(held.sum())


def _read_clusters(
    queryable: Queryable, question: Question, history: History, as_of: date
) -> tuple[list[str] | None, np.ndarray[tuple[int], np.dtype[np.int64]] | None]:
    if question.cluster is None:
        return None, None
    names = read_clusters(queryable, question.cluster, history.customers, as_of=as_of)
    return names, np.unique(names, return_inverse=True)[1].astype(np.int64)


def _assign(
    queryable: Queryable,
    question: Question,
    history: History,
    clusters: list[str] | None,
    arms: Arms,
    salt: str,
    as_of: date,
    earlier: Mapping[str, tuple[str, str]] | None,
) -> tuple[Assignment, list[str]]:
    kept = earlier or {}
    if clusters is not None:
        by_size = {
            name: kept[name][0] if name in kept else group
            for name, group in stratify_clusters(clusters).items()
        }
        return assign_clusters(clusters, by_size, arms, salt=salt, earlier=kept), [
            by_size[name] for name in clusters
        ]
    if question.strata is not None:
        strata = read_labels(queryable, question.strata, history.customers, as_of=as_of)
    elif history.before is not None:
        strata = cut_strata(history.before)
    else:
        strata = [NOT_HOMED] * len(history.customers)
    strata = [
        kept[customer][0] if customer in kept else label
        for customer, label in zip(history.customers, strata, strict=True)
    ]
    return assign_units(history.customers, strata, arms, salt=salt, earlier=kept), strata


def _find_visible(
    history: History, spread: Spread, question: Question, stopping: Stopping, control_share: float
) -> Visible:
    n = len(history.customers)
    control = round(n * control_share)
    return find_visible(
        spread,
        history.kind,
        n_treatment=(n - control) // question.treatments,
        n_control=control,
        alpha=stopping.alpha,
        looks_factor=stopping.factor,
    )


def _find_needed(
    spread: Spread, wanted: float, question: Question, stopping: Stopping, control_share: float
) -> int | None:
    return find_audience(
        spread,
        wanted,
        control_share=control_share,
        treatments=question.treatments,
        alpha=stopping.alpha,
        looks_factor=stopping.factor,
    )


def _find_days(
    queryable: Queryable,
    settings: Settings,
    question: Question,
    history: History,
    spread: Spread,
    stopping: Stopping,
    as_of: date,
) -> int | None:
    """Days until the target is seen: by enrolling, where customers join; else by watching the audience for longer."""
    window = question.days
    if question.per_day > 0:
        wanted = question.target * spread.mean.estimate
        needed = _find_needed(spread, wanted, question, stopping, question.control_share)
        if needed is None:
            return None
        return find_days(needed, audience=len(history.customers), per_day=question.per_day, window=window)
    if history.days is None or question.cluster is not None:
        seen = _find_visible(history, spread, question, stopping, question.control_share).smallest
        return window if seen <= abs(question.target * spread.mean.estimate) else None
    members = frozenset(history.customers)
    for days in LADDER:
        try:
            longer = _read_outcome(queryable, settings, question, as_of, days)
            longer = longer.keep(
                np.array([customer in members for customer in longer.customers], dtype=np.bool_)
            )
            there = measure_spread(longer.outcome, longer.before)
        except (NotReady, BadInput):
            # The past is shorter than this window, or nobody bought in it: the others still answer.
            continue
        seen = _find_visible(longer, there, question, stopping, question.control_share).smallest
        if seen <= abs(question.target * there.mean.estimate):
            return days
    return None


def _try(history: History, visible: Visible, question: Question, seed: int) -> Trial | None:
    if not math.isfinite(visible.smallest):
        return None
    return try_on_past(
        history.outcome,
        history.before,
        history.kind,
        visible.smallest,
        n_treatment=visible.n_treatment,
        n_control=visible.n_control,
        generator=generator(seed, "strategy.design"),
        alpha=question.alpha,
    )


def _check_guards(
    queryable: Queryable,
    settings: Settings,
    question: Question,
    history: History,
    as_of: date,
) -> tuple[Guard, ...]:
    # Guards share the error among them, as they will when the test is looked at.
    stopping = plan_looks(question, guards=len(question.guards))
    guards = []
    for name in question.guards:
        asked = Question(
            metric=None if question.outcome else name,
            outcome=name if question.outcome else None,
            covariate=question.covariate,
            days=question.days,
        )
        found = _read_outcome(queryable, settings, asked, as_of, question.days)
        members = frozenset(history.customers)
        found = found.keep(np.array([customer in members for customer in found.customers], dtype=np.bool_))
        spread = measure_spread(found.outcome, found.before)
        seen = _find_visible(found, spread, question, stopping, question.control_share)
        guards.append(Guard(name, spread.mean.estimate, seen.relative, question.guard_limit))
    return tuple(guards)


def _size(
    queryable: Queryable,
    settings: Settings,
    question: Question,
    history: History,
    spread: Spread,
    stopping: Stopping,
) -> Sizing | None:
    value = find_unit_value(history, question.value, settings.business.margin_rate)
    if value is None:
        return None
    prior, source = _choose_prior(queryable, question, spread.mean.estimate * value)
    noise = spread.sd * value * math.sqrt(spread.design_effect)
    holdout = size_holdout(Programme(len(history.customers), question.windows, noise, prior))
    seen = _find_visible(history, spread, question, stopping, holdout.share) if holdout.share > 0 else None
    return Sizing(holdout, prior, source, seen)


def find_unit_value(history: History, given: float | None, margin_rate: float) -> float | None:
    """Profit of one unit of the outcome: as given, else 1 for margin and the margin rate for other money."""
    if given is not None:
        return given
    if history.kind != "money":
        return None
    return 1.0 if history.name == "profit_per_customer" else margin_rate


def _choose_prior(
    queryable: Queryable, question: Question, level: float
) -> tuple[Prior, Literal["given", "lessons", "assumed"]]:
    """``level``: profit per customer and window without treatment."""
    if question.expected is not None or question.doubt is not None:
        expected = question.target / 2 if question.expected is None else question.expected
        doubt = abs(question.target) if question.doubt is None else question.doubt
        return Prior(expected * level - question.cost, abs(doubt * level)), "given"
    learnt = read_prior(queryable)
    if learnt is not None:
        return learnt, "lessons"
    return Prior(question.target / 2 * level - question.cost, abs(question.target * level)), "assumed"
