"""Can the experiment be believed? Arms as drawn, controls left alone, enough buyers.

Reads and writes no table. Broken randomisation cannot be repaired by statistics: it is a no-go.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from aimwell.core.text import Text, say
from aimwell.evaluation.experiment import Experiment
from aimwell.evaluation.method import Method
from aimwell.evaluation.plan import Periods, Plan
from aimwell.stats.permutation import LEAST_ARM
from aimwell.stats.power import LEAST_BUYERS
from aimwell.stats.sample_ratio import SampleRatio, Stratum, check_sample_ratio

MOST_CONTAMINATED = 0.01
"""Share of contacted controls above which the comparison is not believed."""


@dataclass(frozen=True)
class Validity:
    """The sample ratio, and how many controls were contacted although they should not have been."""

    sample_ratio: SampleRatio
    contaminated: int
    n_control: int
    reached: int
    n_treatment: int

    @property
    def ok(self) -> bool:
        """Whether the comparison may be believed."""
        return self.sample_ratio.ok and self.contaminated <= MOST_CONTAMINATED * self.n_control


def check_validity(experiment: Experiment) -> Validity:
    """The checks that need no outcome."""
    control = ~experiment.treated
    return Validity(
        check_sample_ratio(_list_strata(experiment)),
        int((experiment.reached & control).sum()),
        experiment.n_control,
        int((experiment.reached & experiment.treated).sum()),
        experiment.n_treatment,
    )


def find_obstacle(experiment: Experiment) -> Text | None:
    """Why nothing can be compared at all; None when it can."""
    if experiment.n == 0 and experiment.left_out:
        return say(
            "None of the {n} customers can be compared: no stratum has customers in both treatment and control. "
            "Widen the audience or raise contact.control_share before the next plan.",
            n=experiment.left_out,
        )
    if experiment.n == 0:
        return say(
            "The plan has no randomised customers with an intended action: without a control group nothing can "
            "be said about what it caused. Set contact.control_share above 0 before the next plan."
        )
    for size, arm in ((experiment.n_treatment, say("treatment")), (experiment.n_control, say("control"))):
        if size < 2:
            return say(
                "The {arm} arm has {n} customers; at least 2 are needed to compare, some hundreds to prove "
                "anything. Widen the audience or raise contact.control_share before the next plan.",
                arm=arm,
                n=size,
            )
    if experiment.n <= 2 * len(np.unique(experiment.group)):
        return say(
            "The {n} customers were drawn with too many different probabilities to compare like with like. Use fewer "
            "strata in the next plan.",
            n=experiment.n,
        )
    if all(float(np.ptp(values)) == 0 for values in experiment.outcomes.values()):
        return say(
            "Nobody differs: all {n} customers have the same outcome in the window (mostly nothing bought), so "
            "nothing can be compared. Wait for a longer window, or check that its orders were delivered.",
            n=experiment.n,
        )
    return None


def list_warnings(
    experiment: Experiment, *, method: Method, plan: Plan, periods: Periods, last: date
) -> list[Text]:
    """What makes the result weaker than it could be, with the remedy."""
    found = [_warn_about_size(experiment, method), _warn_about_time(periods, last)]
    if experiment.left_out:
        found.append(
            say(
                "{n} customers were left out: their stratum has nobody on the other side to compare with.",
                n=experiment.left_out,
            )
        )
    if not experiment.reached[experiment.treated].any():
        found.append(
            say(
                "No delivery of plan {plan} is recorded as sent: contact costs count as 0, and the effect is that "
                "of the intention alone. Run: aimwell deployment launch {plan}",
                plan=plan.plan_id,
            )
        )
    return [text for text in found if text is not None]


def list_reasons_against(validity: Validity) -> list[Text]:
    """Why the comparison is not to be believed; empty when it is."""
    reasons = []
    if not validity.sample_ratio.ok:
        reasons.append(
            say(
                "The arms are not as they were drawn: {observed} in treatment where {expected} were due "
                "(p = {p_value}). Something removed or moved customers; find it before believing any effect.",
                observed=validity.sample_ratio.observed.get("treatment", 0),
                expected=round(validity.sample_ratio.expected.get("treatment", 0.0)),
                p_value=f"{validity.sample_ratio.p_value:.1g}",
            )
        )
    if validity.contaminated > MOST_CONTAMINATED * validity.n_control:
        reasons.append(
            say(
                "{n} of {total} control customers were contacted all the same, so control does not show what "
                "happens without contact.",
                n=validity.contaminated,
                total=validity.n_control,
            )
        )
    return reasons


def _list_strata(experiment: Experiment) -> list[Stratum]:
    strata = []
    for code in np.unique(experiment.stratum):
        inside = experiment.stratum == code
        share = float(experiment.share[inside].mean())
        if experiment.cluster is None:
            drawn = experiment.treated[inside]
        else:
            # What was drawn is counted, not who was in it.
            first = np.unique(experiment.cluster[inside], return_index=True)[1]
            drawn = experiment.treated[inside][first]
        treated = int(drawn.sum())
        observed = {"treatment": treated, "control": len(drawn) - treated}
        strata.append(Stratum(observed, {"treatment": share, "control": 1 - share}))
    return strata


def _warn_about_size(experiment: Experiment, method: Method) -> Text | None:
    if method.expected_buyers >= LEAST_BUYERS:
        return None
    smaller = min(experiment.n_treatment, experiment.n_control)
    needed = method.needed_customers
    if smaller < LEAST_ARM or needed is None:
        return say(
            "The smaller arm has only {n} customers and was to expect {buyers} buyers: take the interval as a hint. "
            "Widen the audience before the next plan.",
            n=smaller,
            buyers=round(method.expected_buyers),
        )
    return say(
        "The smaller arm ({n} customers) was to expect {buyers} buyers; below {least} skewed money needs wider "
        "intervals. {needed} customers in that arm would expect {least}.",
        n=smaller,
        buyers=round(method.expected_buyers),
        least=LEAST_BUYERS,
        needed=needed,
    )


def _warn_about_time(periods: Periods, last: date) -> Text | None:
    if (periods.window.end - last).days > 3:
        return say(
            "Orders are known up to {last} only, the window ends on {end}: effects of the last days are missing. "
            "Load newer orders and evaluate again.",
            last=last.isoformat(),
            end=periods.window.end.isoformat(),
        )
    if periods.before is None:
        return say(
            "Nothing is known of the weeks before the plan, so noise could not be removed. Load older orders."
        )
    return None
