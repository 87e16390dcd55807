"""Any randomised experiment: arms against a control, for a yes/no or a money outcome.

Reads and writes no table. The same code judges a company's own experiment file and the published one of Cai
et al. (2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.estimate import Estimate
from aimwell.core.lists import join_list
from aimwell.core.seeds import generator
from aimwell.core.text import Text, say
from aimwell.evaluation.experiment import Array, Flags
from aimwell.evaluation.summary import show_effect
from aimwell.stats.adjustment import Adjustment, compare_with_covariates
from aimwell.stats.effect import Effect
from aimwell.stats.mean import estimate_mean_of, estimate_share
from aimwell.stats.moments import Moments, require_values
from aimwell.stats.multiplicity import adjust_holm
from aimwell.stats.permutation import LEAST_ARM, rerandomise
from aimwell.stats.power import LEAST_BUYERS, find_smallest_effect
from aimwell.stats.ratio import estimate_relative_lift
from aimwell.stats.regression import compare_by_clusters, compare_by_regression
from aimwell.stats.sample_ratio import SampleRatio, Stratum, check_sample_ratio

CONTROL_NAMES = frozenset(
    {"control", "ctrl", "holdout", "baseline", "placebo", "none", "no", "false", "0", "0.0"}
    | {"no e-mail", "no email", "对照", "对照组", "控制组", "空白组", "否"}
)
_MOST_DRAWS = 30_000_000


@dataclass(frozen=True)
class ArmComparison:
    """One arm against control. ``effect`` is the plain difference; the others stand beside it where they
    apply.
    """

    arm: str
    effect: Effect
    clustered: Effect | None
    adjusted: Effect | None
    rerandomised: Effect | None
    relative: Estimate | None
    variance_removed: float
    smallest_effect: float
    p_holm: float

    @property
    def decisive(self) -> Effect:
        """The one to believe: clustered where arms were drawn in clusters, re-randomised for skewed money,
        else adjusted.
        """
        return self.clustered or self.rerandomised or self.adjusted or self.effect

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        shown = {
            name: None if effect is None else show_effect(effect)
            for name, effect in (
                ("effect", self.effect),
                ("clustered", self.clustered),
                ("adjusted", self.adjusted),
                ("rerandomised", self.rerandomised),
                ("decisive", self.decisive),
            )
        }
        return {
            "arm": self.arm,
            **shown,
            "relative": self.relative.to_dict() if self.relative else None,
            "variance_removed": self.variance_removed,
            "smallest_effect": self.smallest_effect,
            "p_holm": self.p_holm,
            "proven": self.decisive.proven and self.p_holm < 0.05,
        }


@dataclass(frozen=True)
class ExperimentResult:
    """All arms against control; ``means`` by arm; ``kind`` is share or mean."""

    n: int
    kind: str
    control: str
    means: dict[str, Estimate]
    comparisons: tuple[ArmComparison, ...]
    sample_ratio: SampleRatio | None
    lacks: tuple[Text, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        ratio = self.sample_ratio
        return {
            "n": self.n,
            "kind": self.kind,
            "control": self.control,
            "means": {arm: mean.to_dict() for arm, mean in self.means.items()},
            "comparisons": [found.to_dict() for found in self.comparisons],
            "sample_ratio": None if ratio is None else {"p_value": ratio.p_value, "ok": ratio.ok},
            "lacks": [text.both() for text in self.lacks],
        }


def evaluate_experiment(
    outcome: Array,
    arm: NDArray[np.str_],
    *,
    cluster: NDArray[np.str_] | None = None,
    covariate: Array | None = None,
    control: str | None = None,
    shares: dict[str, float] | None = None,
) -> ExperimentResult:
    """Compare every arm with ``control`` (recognised by its name when omitted).

    ``outcome``, ``arm``, ``cluster`` and ``covariate`` have shape (n,); ``covariate`` was known before the
    arms were drawn. ``shares``: with which the arms were drawn, for the sample-ratio check. BadInput when
    there is no control, only one arm, an arm with fewer than 2 rows, or values that are missing.
    """
    require_values(outcome, 4)
    if covariate is not None:
        require_values(covariate)
    base = find_control(arm, control)
    names = sorted(str(name) for name in np.unique(arm))
    _check_arms(arm, names)
    binary = bool(np.isin(outcome, (0.0, 1.0)).all())
    found = [
        _compare_arm(name, outcome, arm, base, cluster, covariate, binary) for name in names if name != base
    ]
    holm = adjust_holm([comparison.decisive.p_value for comparison in found])
    comparisons = tuple(_put_holm(one, float(p)) for one, p in zip(found, holm, strict=True))
    return ExperimentResult(
        n=len(outcome),
        kind="share" if binary else "mean",
        control=base,
        means={name: _estimate_arm(outcome[arm == name], binary) for name in names},
        comparisons=comparisons,
        sample_ratio=_check_shares(arm, names, shares),
        lacks=tuple(_list_lacks(outcome, arm, names, binary)),
    )


def find_control(arm: NDArray[np.str_], wanted: str | None) -> str:
    """The control arm's name: ``wanted``, else the one that is called like a control. BadInput when
    unclear.
    """
    names = sorted(str(name) for name in np.unique(arm))
    if wanted is not None and wanted in names:
        return wanted
    alike = [name for name in names if name.strip().lower() in CONTROL_NAMES]
    if wanted is None and len(alike) == 1:
        return alike[0]
    raise BadInput(
        "evaluation.no_control",
        say("Which arm is the control is not clear among: {arms}.", arms=join_list(names[:10])),
        remedy=say("Name it with --control."),
        where={"value": wanted},
    )


def _check_arms(arm: NDArray[np.str_], names: list[str]) -> None:
    if len(names) < 2:
        raise BadInput(
            "evaluation.one_arm",
            say("There is only one arm, '{arm}': nothing can be compared.", arm=names[0]),
            remedy=say("Keep the rows of the control group in the file."),
        )
    for name in names:
        count = int((arm == name).sum())
        if count < 2:
            raise BadInput(
                "evaluation.small_arm",
                say("The arm '{arm}' has {n} row; at least 2 are needed.", arm=name, n=count),
                remedy=say("Leave that arm out, or load all its rows."),
                where={"value": name},
            )


def _compare_arm(
    name: str,
    outcome: Array,
    arm: NDArray[np.str_],
    base: str,
    cluster: NDArray[np.str_] | None,
    covariate: Array | None,
    binary: bool,
) -> ArmComparison:
    rows = (arm == name) | (arm == base)
    y, treated = outcome[rows], arm[rows] == name
    effect = compare_by_regression(y, treated, kind="HC2")
    codes = None if cluster is None else np.unique(cluster[rows], return_inverse=True)[1].astype(np.int64)
    adjustment = None
    if covariate is not None:
        adjustment = compare_with_covariates(y, treated, covariate[rows][:, None])
    spread = float(np.sqrt((y[treated].var() + y[~treated].var()) / 2))
    left = adjustment.variance_removed if adjustment else 0.0
    return ArmComparison(
        arm=name,
        effect=effect,
        clustered=None if codes is None else compare_by_clusters(y, treated, codes),
        adjusted=adjustment.effect if adjustment else None,
        rerandomised=None if binary or codes is not None else _redraw(name, y, treated, adjustment),
        # Customers of one cluster are alike: an interval that takes them one by one would be too narrow.
        relative=None
        if codes is not None
        else estimate_relative_lift(Moments.of(y[treated]), Moments.of(y[~treated])),
        variance_removed=left,
        smallest_effect=find_smallest_effect(
            sd=spread * float(np.sqrt(max(0.0, 1 - left))),
            n_treatment=effect.n_treatment,
            n_control=effect.n_control,
        ),
        p_holm=1.0,
    )


def _redraw(name: str, y: Array, treated: Flags, adjustment: Adjustment | None) -> Effect | None:
    """Money is skewed: below 400 buyers in the smaller arm, Student's interval misses too often."""
    smaller = treated if treated.sum() <= (~treated).sum() else ~treated
    if int((y[smaller] != 0).sum()) >= LEAST_BUYERS or int(smaller.sum()) < LEAST_ARM:
        return None
    draws = rerandomise(
        y if adjustment is None else adjustment.residuals,
        treated,
        generator=generator(0, "experiment", name),
        repetitions=min(2000, max(500, _MOST_DRAWS // len(y))),
    )
    label = "re-randomised" if adjustment is None else "regression-adjusted, re-randomised"
    return None if draws is None else draws.to_effect(method=label)


def _put_holm(found: ArmComparison, p_holm: float) -> ArmComparison:
    return ArmComparison(**{**found.__dict__, "p_holm": p_holm})


def _estimate_arm(values: Array, binary: bool) -> Estimate:
    return estimate_share(int(values.sum()), len(values)) if binary else estimate_mean_of(values)


def _check_shares(
    arm: NDArray[np.str_], names: list[str], shares: dict[str, float] | None
) -> SampleRatio | None:
    if shares is None:
        return None
    unknown = sorted(set(names) ^ set(shares))
    if unknown:
        raise BadInput(
            "evaluation.unknown_share",
            say("The arms and their shares do not match: {arms}.", arms=join_list(unknown)),
            remedy=say("Give a share for each arm of the file."),
        )
    return check_sample_ratio([Stratum({name: int((arm == name).sum()) for name in names}, shares)])


def _list_lacks(outcome: Array, arm: NDArray[np.str_], names: list[str], binary: bool) -> list[Text]:
    lacks = []
    smallest = min(names, key=lambda name: int((arm == name).sum()))
    active = int((outcome[arm == smallest] != 0).sum())
    if active < LEAST_BUYERS and not binary:
        lacks.append(
            say(
                "The smallest arm '{arm}' has {n} rows with a value other than 0; below {least} skewed money needs "
                "wider intervals.",
                arm=smallest,
                n=active,
                least=LEAST_BUYERS,
            )
        )
    if float(np.ptp(outcome)) == 0:
        lacks.append(say("All rows have the same outcome: no effect can be seen."))
    return lacks
