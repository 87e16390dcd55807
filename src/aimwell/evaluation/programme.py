"""What the whole programme causes: everybody who may be contacted against the holdout.

Reads and writes no table. Control customers of a plan still get other campaigns; only the holdout shows
life without any.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.text import Text, say
from aimwell.evaluation.experiment import Experiment, build_experiment
from aimwell.evaluation.increment import Increments, measure_increments
from aimwell.evaluation.method import Method, choose_method
from aimwell.stats.permutation import LEAST_ARM


@dataclass(frozen=True)
class Programme:
    """Programme minus holdout, over ``n`` customers who may be contacted."""

    experiment: Experiment
    method: Method
    increments: Increments


def measure_programme(observed: pa.Table, *, has_before: bool, seed: int) -> Programme | Text | None:
    """The programme's effect; why it cannot be told; or None when there is no holdout at all."""
    held = observed.filter(pc.equal(observed.column("arm"), "holdout"))
    if held.num_rows == 0:
        return None
    intended = held.column("action_id").null_count < held.num_rows
    others = observed.filter(pc.not_equal(observed.column("arm"), "holdout"))
    if not intended and others.column("action_id").null_count == 0:
        return say(
            "The holdout cannot be compared with this plan: the plan lists only customers chosen for an action, the "
            "holdout lists everybody. The whole programme's effect needs the same choice recorded for both."
        )
    experiment = build_experiment(
        observed, treatment=("treatment", "control"), control=("holdout",), intended=intended
    )
    if min(experiment.n_treatment, experiment.n_control) < LEAST_ARM:
        return say(
            "The holdout has {n} comparable customers, too few to show what the whole programme causes.",
            n=experiment.n_control,
        )
    method = choose_method(experiment, has_before=has_before, seed=seed)
    return Programme(experiment, method, measure_increments(experiment, method=method, cap=None))
