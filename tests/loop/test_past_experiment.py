"""An experiment in the customers' columns: learnt from, guarded, valued apart, and handed over to the plan."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.tables import TABLES
from aimwell.core.text import Text
from aimwell.engine.workspace import Workspace
from aimwell.loop.past_experiment import Arm, PastExperiment, learn_past_experiment
from aimwell.models.arms import encode_traits
from aimwell.strategy.basis import read_evidence

DAY = date(2024, 6, 1)
KINDS_SQL = """
SELECT action_id, COUNT(DISTINCT estimate) AS kinds, MIN(estimate) AS mean
FROM effects
GROUP BY action_id
ORDER BY action_id
"""
ARMS = (Arm("Card A", "email", Decimal("0.10")), Arm("卡片 B", "sms", Decimal("0.10")))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path / "shop", name="shop", zone="UTC", currency="USD")
    yield opened
    opened.close()


def fill(workspace: Workspace, *, differ: bool, n: int = 3_000, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    young, past = random.random(n) < 0.5, random.gamma(2.0, 2.0, n)
    arm = np.array(["Card A", "卡片 B", "none"])[random.integers(0, 3, n)]
    effect = np.where(arm == "Card A", 1.0, np.where(arm == "none", 0.0, 0.6))
    if differ:
        effect = np.where(arm == "卡片 B", np.where(young, 3.0, -1.0), effect)
    spend = 3 + 0.2 * past + effect + random.standard_normal(n)
    columns = {
        "age": ["young" if one else "old" for one in young],
        "past": [f"{one:.2f}" for one in past],
        "card": arm.tolist(),
        "spend": [f"{one:.3f}" for one in spend],
    }
    table = TABLES["customers"].build([{"customer_id": f"c{place}", "source": "test"} for place in range(n)])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    with workspace.run("data", as_of=DAY) as run:
        run.replace("customers", table)


def make_experiment(**other: Any) -> PastExperiment:
    given = {"arm": "card", "outcome": "spend", "control": "none", "arms": ARMS, "traits": ("age", "past")}
    return PastExperiment(**{**given, "worth": 1.0, **other})


def test_where_customers_differ_personalising_is_proven_and_used(workspace: Workspace) -> None:
    fill(workspace, differ=True)
    summary = learn_past_experiment(workspace, make_experiment(), as_of=DAY).summary
    assert summary["guard"]["proven"]
    assert summary["value"]["difference"]["lower"] > 0
    with workspace.read() as reader:
        evidence = read_evidence(reader)
        assert evidence.proven is True
        assert not evidence.own
        rows = reader.query("SELECT * FROM effects ORDER BY customer_id, action_id").to_pylist()
        found = reader.query("SELECT customer_id FROM customers WHERE age = 'young'")
        actions = reader.query("SELECT action_id FROM actions ORDER BY action_id").to_pylist()
    assert [row["action_id"] for row in actions] == ["card_a:email", "卡片_b:sms"]
    assert len(rows) == 6_000
    young = set(found["customer_id"].to_pylist())
    second = [row for row in rows if row["action_id"] == "卡片_b:sms"]
    mean = {
        side: np.mean([row["estimate"] for row in second if (row["customer_id"] in young) == side])
        for side in (True, False)
    }
    assert mean[True] == pytest.approx(3.0, abs=0.4)
    assert mean[False] == pytest.approx(-1.0, abs=0.4)


def test_where_they_are_alike_everybody_has_the_mean_effect(workspace: Workspace) -> None:
    fill(workspace, differ=False)
    summary = learn_past_experiment(workspace, make_experiment(), as_of=DAY).summary
    assert not summary["guard"]["proven"]
    assert "not proven" in summary["guard"]["sentence"]["en"]
    assert summary["guard"]["single"]["en"] == "Card A"
    assert summary["value"]["difference"]["estimate"] == 0.0
    assert summary["learnt_from"] + summary["held_out"] == 3_000
    with workspace.read() as reader:
        found = reader.query(KINDS_SQL).to_pylist()
        evidence = read_evidence(reader)
    assert evidence.proven is False
    assert evidence.personalising is not None
    assert Text.from_json(evidence.personalising["sentence"]).both() == summary["guard"]["sentence"]
    assert [row["kinds"] for row in found] == [1, 1]
    assert found[0]["mean"] == pytest.approx(1.0, abs=0.2)


def test_learning_again_replaces_its_own_actions_only(workspace: Workspace) -> None:
    fill(workspace, differ=False, n=600)
    for _ in range(2):
        learn_past_experiment(workspace, make_experiment(), as_of=DAY)
    with workspace.read() as reader:
        assert reader.query("SELECT * FROM actions").num_rows == 2
        assert reader.query("SELECT * FROM effects").num_rows == 1_200


def test_unusable_columns_and_arms_are_named(workspace: Workspace) -> None:
    fill(workspace, differ=False, n=60)
    for wrong in ({"arm": "tribe"}, {"outcome": "x y"}, {"traits": ('age" --',)}, {"traits": ()}):
        with pytest.raises(BadInput) as error:
            learn_past_experiment(workspace, make_experiment(**wrong), as_of=DAY)
        assert error.value.code == "loop.unknown_column"
    for traits in (("age", "spend"), ("card",)):
        with pytest.raises(BadInput) as leak:
            learn_past_experiment(workspace, make_experiment(traits=traits), as_of=DAY)
        assert leak.value.code == "loop.leaking_column"
    for wrong in ({"control": "nobody"}, {"outcome": "age", "traits": ("past",)}):
        with pytest.raises(NotReady) as missing:
            learn_past_experiment(workspace, make_experiment(**wrong), as_of=DAY)
        assert missing.value.code == "loop.empty_arm"


def test_columns_of_text_become_numbers_or_marks() -> None:
    numbers = encode_traits([["1", " 2.5", None, ""]])
    assert numbers.shape == (4, 1)
    assert np.isnan(numbers[2:, 0]).all()
    marks = encode_traits([["b", "a", "b", None]])
    assert marks.tolist() == [[0.0], [1.0], [0.0], [0.0]]
    assert encode_traits([["x", "x"], ["1", "2"]]).shape == (2, 1)
    many = encode_traits([[f"v{i % 30}" for i in range(300)]])
    assert many.shape == (300, 7)
    # One word among numbers makes them words: nothing is dropped in silence.
    assert encode_traits([["1", "2", "n/a", "1"]]).shape == (4, 2)
