"""A real experiment through the same code: Cai, de Janvry and Sadoulet (2015), insurance for Chinese rice
farmers.

Reads ``Cai_2015.csv`` out of the installed package ``causaldata`` (as a file: the package itself would
import pandas). Writes nothing. Farmers were randomised to a form on which the insurance was the default,
and to an intensive information session; the outcome is whether they took it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.text import Text, say
from aimwell.evaluation.comparison import ArmComparison, evaluate_experiment
from aimwell.evaluation.experiment_file import read_experiment
from aimwell.evaluation.summary import show_effect

SOURCE = "Cai, de Janvry & Sadoulet (2015), AEJ: Applied Economics 7(2); causaldata"
_FILE = Path("social_insure") / "Cai_2015.csv"


def evaluate_cai2015() -> dict[str, Any]:
    """Both randomised factors, without clustering and clustered by village; NotReady without
    ``causaldata``.
    """
    path = find_cai2015()
    found = {factor: _compare(path, factor) for factor in ("default", "intensive")}
    return {
        "source": SOURCE,
        "n": found["default"].effect.n,
        "outcome": say("took the insurance").both(),
        **{name: show_effect(comparison.effect) for name, comparison in found.items()},
        **{f"{name}_clustered": show_effect(_require_clustered(one)) for name, one in found.items()},
        "sentence": _describe(found["default"], found["intensive"]).both(),
    }


def find_cai2015() -> Path:
    """Where the file is; NotReady when the package or the file is missing."""
    spec = find_spec("causaldata")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise NotReady(
        "evaluation.no_causaldata",
        say("The data of the real experiment are not installed."),
        remedy=say("Install them with: pip install causaldata"),
    )


def _compare(path: Path, factor: str) -> ArmComparison:
    data = read_experiment(path, arm=factor, outcome="takeup_survey", cluster="village")
    result = evaluate_experiment(data.outcome, data.arm, cluster=data.cluster, control="0")
    return result.comparisons[0]


def _require_clustered(comparison: ArmComparison) -> Any:
    assert comparison.clustered is not None
    return comparison.clustered


def _describe(default: ArmComparison, intensive: ArmComparison) -> Text:
    one, two = default.effect, intensive.effect
    clustered = _require_clustered(default)
    return say(
        "{n} rice farmers, randomised: with insurance as the default, {effect} percentage points more took it "
        "[{lower}, {upper}]; letting farmers of one village be alike, [{clustered_lower}, {clustered_upper}]. The "
        "intensive session: {session} points [{session_lower}, {session_upper}], not proven.",
        n=f"{one.n:,}",
        effect=_show_points(one.estimate),
        lower=_show_points(one.lower),
        upper=_show_points(one.upper),
        clustered_lower=_show_points(clustered.lower),
        clustered_upper=_show_points(clustered.upper),
        session=_show_points(two.estimate),
        session_lower=_show_points(two.lower),
        session_upper=_show_points(two.upper),
    )


def _show_points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")
