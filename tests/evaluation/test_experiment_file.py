"""Experiment files as people write them: yes and no, GB18030, gaps; and clear words for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aimwell.core.errors import BadInput
from aimwell.evaluation.comparison import evaluate_experiment, find_control
from aimwell.evaluation.experiment_file import read_experiment, read_shares


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "test.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_chinese_excel_files_and_yes_no_are_understood(tmp_path: Path) -> None:
    rows = "\n".join(["客户,分组,购买"] + ["a,对照组,否", "b,实验组,是", "c,对照组,是", "d,实验组,是"] * 5)
    data = read_experiment(write(tmp_path, rows, "gb18030"), arm="分组", outcome="购买")
    result = evaluate_experiment(data.outcome, data.arm)
    assert result.control == "对照组"
    assert result.comparisons[0].effect.estimate == pytest.approx(0.5)
    assert result.kind == "share"


def test_rows_with_gaps_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "arm;spend;before\n0;1;2\n1;;2\n1;3;4\n0;2;\n\n1;1;1\n")
    data = read_experiment(path, arm="arm", outcome="spend", covariate="before")
    assert data.left_out == 2
    assert data.outcome.tolist() == [1.0, 3.0, 1.0]
    assert data.covariate is not None and data.covariate.tolist() == [2.0, 4.0, 1.0]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"arm,y\n0,1\n1,much\n", "evaluation.not_a_number"),
        (b"arm,y\n0,1\n1,nan\n", "evaluation.not_a_number"),
        (b"arm,z\n0,1\n", "evaluation.no_column"),
        (b"arm,y,y\n0,1,2\n", "evaluation.no_column"),
        (b"arm,y\n", "evaluation.empty_file"),
        (b"", "evaluation.empty_file"),
        (b"arm,y\n,1\n", "evaluation.empty_experiment"),
        (b"PK\x03\x04\x00\x00\xff\xff", "evaluation.not_text"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_experiment(path, arm="arm", outcome="y")
    assert refused.value.code == code
    assert refused.value.where["file"] == "bad.csv"
    assert refused.value.remedy is not None


def test_the_bad_value_is_named_by_row_and_column(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read_experiment(write(tmp_path, "arm,y\n0,1\n1,much\n"), arm="arm", outcome="y")
    assert refused.value.where == {"file": "test.csv", "row": 3, "column": "y", "value": "much"}


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read_experiment(tmp_path / "none.csv", arm="a", outcome="b")
    assert refused.value.code == "evaluation.no_file"


def test_the_control_is_named_or_recognised() -> None:
    assert find_control(np.array(["A", "Control", "B"]), None) == "Control"
    assert find_control(np.array(["A", "B"]), "B") == "B"
    for wanted in (None, "C"):
        with pytest.raises(BadInput) as refused:
            find_control(np.array(["A", "B"]), wanted)
        assert refused.value.code == "evaluation.no_control"


def test_broken_experiments_are_refused() -> None:
    with pytest.raises(BadInput) as lonely:
        evaluate_experiment(np.ones(5), np.array(["control"] * 5))
    assert lonely.value.code == "evaluation.one_arm"
    with pytest.raises(BadInput) as small:
        evaluate_experiment(np.ones(5), np.array(["control"] * 4 + ["new"]))
    assert small.value.code == "evaluation.small_arm"


def test_no_variation_gives_no_nan() -> None:
    result = evaluate_experiment(np.zeros(20), np.array(["0", "1"] * 10))
    assert result.comparisons[0].effect.p_value == 1.0
    assert not result.comparisons[0].to_dict()["proven"]
    assert len(result.lacks) == 1


def test_arms_are_checked_against_their_shares() -> None:
    arm = np.array(["control"] * 400 + ["new"] * 600)
    outcome = np.arange(1000) % 2.0
    result = evaluate_experiment(outcome, arm, shares=read_shares(["control=0.5", "new=0.5"]))
    assert result.sample_ratio is not None and not result.sample_ratio.ok
    for wrong in (["control"], ["control=x"], ["=1"], ["control=0"]):
        with pytest.raises(BadInput):
            read_shares(wrong)
    with pytest.raises(BadInput) as unknown:
        evaluate_experiment(outcome, arm, shares={"control": 1.0})
    assert unknown.value.code == "evaluation.unknown_share"


def test_skewed_money_of_few_buyers_is_redrawn() -> None:
    random = np.random.default_rng(2)
    spend = (random.random(2000) < 0.1) * random.lognormal(3, 1.5, 2000)
    arm = np.where(random.random(2000) < 0.1, "control", "new")
    comparison = evaluate_experiment(spend, arm, covariate=random.random(2000)).comparisons[0]
    assert comparison.rerandomised is not None
    assert comparison.decisive is comparison.rerandomised
    assert comparison.adjusted is not None and "re-randomised" in comparison.decisive.method
