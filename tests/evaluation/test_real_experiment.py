"""Known truth: Cai 2015 out of its package, Hillstrom out of the shared data."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aimwell.evaluation.comparison import evaluate_experiment
from aimwell.evaluation.experiment_file import read_experiment
from aimwell.evaluation.real_experiment import evaluate_cai2015

HILLSTROM = Path(__file__).parents[2] / "../shared/data/hillstrom/hillstrom.csv"


def test_cai_2015_comes_out_as_published() -> None:
    found = evaluate_cai2015()
    assert found["n"] == 1410
    default = found["default"]
    assert default["estimate"] == pytest.approx(0.106, abs=0.001)
    assert [default["lower"], default["upper"]] == pytest.approx([0.054, 0.158], abs=0.0005)
    assert found["intensive"]["estimate"] == pytest.approx(0.002, abs=0.0005)
    assert default["proven"] and not found["intensive"]["proven"]


def test_the_clustered_interval_stands_beside_it() -> None:
    found = evaluate_cai2015()
    plain, clustered = found["default"], found["default_clustered"]
    assert clustered["estimate"] == plain["estimate"]
    assert [clustered["lower"], clustered["upper"]] == pytest.approx([0.050, 0.161], abs=0.0005)
    assert "CR2" in clustered["method"]


def test_it_speaks_both_languages_and_is_plain_json() -> None:
    found = evaluate_cai2015()
    assert json.loads(json.dumps(found)) == found
    assert "10.6" in found["sentence"]["en"] and "10.6" in found["sentence"]["zh"]
    assert "not proven" in found["sentence"]["en"] and "未证明" in found["sentence"]["zh"]
    assert "causaldata" not in sys.modules


@pytest.mark.parametrize(
    ("outcome", "known"),
    [
        ("visit", {"Mens E-Mail": (0.0766, 0.0699, 0.0832), "Womens E-Mail": (0.0452, 0.0389, 0.0516)}),
        ("spend", {"Mens E-Mail": (0.770, 0.485, 1.055), "Womens E-Mail": (0.424, 0.169, 0.680)}),
    ],
)
def test_hillstrom_comes_out_as_known(outcome: str, known: dict[str, tuple[float, float, float]]) -> None:
    if not HILLSTROM.is_file():
        pytest.skip("the shared data are not here: ../shared/data/hillstrom/hillstrom.csv")
    data = read_experiment(HILLSTROM, arm="segment", outcome=outcome, covariate="history")
    result = evaluate_experiment(data.outcome, data.arm, covariate=data.covariate)
    assert result.control == "No E-Mail" and result.n == 64_000
    digits = 0.0001 if outcome == "visit" else 0.001
    for comparison in result.comparisons:
        effect, adjusted = comparison.effect, comparison.adjusted
        assert adjusted is not None
        assert (effect.estimate, effect.lower, effect.upper) == pytest.approx(
            known[comparison.arm], abs=digits
        )
        assert adjusted.estimate == pytest.approx(effect.estimate, abs=0.3 * effect.standard_error)
        assert comparison.decisive.proven and comparison.p_holm < 0.05
        # The catalogue: covariates of Hillstrom explain next to nothing.
        assert -0.01 < comparison.variance_removed < 0.05
