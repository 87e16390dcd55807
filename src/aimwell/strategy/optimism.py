"""What the lessons of past plans say about promises: how much of an expected effect really comes.

A plan picks the effects that look largest, so it picks their errors too: even calibrated effects promise more in
the chosen than they keep (the winner's curse; Smith and Winkler 2006, "The Optimizer's Curse"). Each plan that was
measured tells how much came; the next one starts from that. Pure: ``lessons`` are read by the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aimwell.strategy.inputs import PlanInputs

PRIOR_SD = 0.2
"""How far a plan's realised share is thought to stray from what is expected before any plan was measured."""
OWN_MODEL = 0.85
"""What is expected to come of effects learnt from the workspace's own plans: less than 1, since a plan picks where the
model errs upwards. From simulated rounds (``loop.simulation``, seeds below 130): a first rollout kept about three
quarters of its promise, later ones nearly all of it. On further seeds promises then came out right together."""
LEAST, GREATEST = 0.3, 1.2


@dataclass(frozen=True)
class Kept:
    """A measured plan: expected profit, realised profit and its standard error; money."""

    promised: float
    realised: float
    standard_error: float


def measure_kept_share(plans: Sequence[Kept], *, expected: float = 1.0) -> float:
    """The share of a promise that is kept, drawn to ``expected``; plans that promised nothing or were not measured
    say nothing.

    The posterior mean of κ in realised = κ · promised + noise, with κ ~ N(expected, 0.2²) and each plan's own noise.

    >>> measure_kept_share([])
    1.0
    >>> round(measure_kept_share([Kept(1000.0, 500.0, 100.0)]), 2)
    0.6
    """
    precision, weighted = 1 / PRIOR_SD**2, expected / PRIOR_SD**2
    for plan in plans:
        if plan.promised > 0 and plan.standard_error > 0:
            # No measurement is surer than one part in a thousand; promises of next to nothing do not count.
            noise = plan.standard_error / plan.promised
            weight = 1 / max(noise, 1e-3) ** 2 if noise < 1e6 else 0.0
            precision += weight
            weighted += weight * plan.realised / plan.promised
    return min(max(weighted / precision, LEAST), GREATEST)


def start_from_lessons(inputs: PlanInputs, plans: Sequence[Kept], *, expected: float = 1.0) -> PlanInputs:
    """``inputs`` with effects (and their errors) at the share that past plans kept, drawn to ``expected``."""
    share = measure_kept_share(plans, expected=expected)
    if inputs.estimate is None or inputs.standard_error is None or share == 1:
        return inputs
    return replace(inputs, estimate=inputs.estimate * share, standard_error=inputs.standard_error * share)
