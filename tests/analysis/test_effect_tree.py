"""A tree of effects finds whom an action moves, and its intervals keep their word."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from aimwell.analysis.effect_tree import (
    Trial,
    build_effect_tree,
    compare_leaves,
    grow_effect_leaves,
    halve,
    measure_leaves,
    show_effect,
)
from aimwell.analysis.response_tree import Leaf, reach_leaf
from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.tables import TABLES
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.workspace import Workspace
from aimwell.stats.effect import Effect
from tests.analysis.shop import AS_OF, buy, days_ago, load, make_workspace
from tests.engine.scratch import build_lines

HILLSTROM = Path(__file__).parents[2] / "../shared/data/hillstrom/hillstrom.csv"


def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """What is known of n customers (the second column is unknown for some), and the true effect on each."""
    values = rng.normal(size=(n, 4))
    values[rng.random(n) < 0.2, 1] = np.nan
    truth = 0.2 + 1.2 * (values[:, 0] > 0.5) - 0.8 * (np.nan_to_num(values[:, 1], nan=9.0) > 1.0)
    return values, truth


def run_trial(rng: np.random.Generator, n: int, *, effect: bool = True) -> Trial:
    values, truth = draw(rng, n)
    probability = np.where(values[:, 2] > 0, 0.5, 0.8)
    treated = rng.random(n) < probability
    # Those who are treated more often buy more anyway: only weighting by the probability is right.
    noise = rng.exponential(2.0, n) + 1.5 * (values[:, 2] <= 0) + values[:, 3]
    outcome = noise + (truth if effect else 0.3) * treated
    return Trial(values, outcome, treated, np.where(treated, probability, 1 - probability))


def test_the_intervals_of_leaves_cover_the_truth() -> None:
    later, truth = draw(np.random.default_rng(1), 200_000)
    covered = leaves_in_all = 0
    for seed in range(100):
        grown, measured = halve(run_trial(np.random.default_rng(seed + 7_000), 4_000), seed)
        leaves = grow_effect_leaves(grown)
        effects = measure_leaves(leaves, measured)
        for leaf, effect in zip(leaves, effects, strict=True):
            expected = float(truth[reach_leaf(leaf, later)].mean())
            covered += effect.lower <= expected <= effect.upper
            leaves_in_all += 1
    assert leaves_in_all > 200
    assert 0.92 <= covered / leaves_in_all <= 0.98, (covered, leaves_in_all)


def test_where_all_are_moved_alike_the_tree_hardly_ever_parts_them() -> None:
    parted = 0
    for seed in range(100):
        grown, _ = halve(run_trial(np.random.default_rng(seed + 9_000), 2_000, effect=False), seed)
        parted += len(grow_effect_leaves(grown)) > 1
    assert parted <= 8


def test_the_first_question_is_the_one_that_matters_most() -> None:
    (feature, threshold, _), *_ = grow_effect_leaves(run_trial(np.random.default_rng(3), 20_000))[0].path
    assert feature == 0
    assert threshold == pytest.approx(0.5, abs=0.15)


def test_halves_share_out_both_arms_and_are_repeated() -> None:
    trial = run_trial(np.random.default_rng(5), 1_001)
    one, other = halve(trial, 11)
    assert abs(int(one.treated.sum()) - int(other.treated.sum())) <= 1
    assert len(one.outcome) + len(other.outcome) == 1_001
    assert np.array_equal(halve(trial, 11)[0].outcome, one.outcome)
    assert sorted([*one.outcome, *other.outcome]) == sorted(trial.outcome)


def test_a_leaf_that_one_arm_reaches_proves_nothing() -> None:
    trial = Trial(np.zeros((4, 1)), np.arange(4.0), np.ones(4, np.bool_), np.full(4, 0.5))
    (effect,) = measure_leaves([Leaf((), np.arange(4))], trial)
    assert not effect.proven
    assert (effect.n_treatment, effect.n_control) == (4, 0)
    assert compare_leaves([effect, effect]) == 1.0


def test_hillstroms_womens_mail_works_on_those_who_bought_for_women() -> None:
    if not HILLSTROM.is_file():
        pytest.skip("the shared data are not here: ../shared/data/hillstrom/hillstrom.csv")
    with HILLSTROM.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["segment"] != "Mens E-Mail"]
    features = ("recency", "history", "mens", "womens", "newbie")
    values = np.array([[float(row[name]) for name in features] for row in rows])
    outcome = np.array([float(row["visit"]) for row in rows])
    treated = np.array([row["segment"] == "Womens E-Mail" for row in rows])
    grown, measured = halve(Trial(values, outcome, treated, np.full(len(rows), 0.5)), 42)
    leaves = grow_effect_leaves(grown)
    assert features[leaves[0].path[0][0]] == "womens"
    effects = measure_leaves(leaves, measured)
    bought = [not dict((test[0], test[2]) for test in leaf.path)[3] for leaf in leaves]
    women = [effect for effect, inside in zip(effects, bought, strict=True) if inside]
    others = [effect for effect, inside in zip(effects, bought, strict=True) if not inside]
    assert min(effect.lower for effect in women) > max(effect.estimate for effect in others)
    assert compare_leaves(effects) < 1e-4


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """1,200 customers, half of them regular; the action brings 10 from regular ones and nothing from others."""
    shop = make_workspace(tmp_path_factory.mktemp("effects"))
    rng = np.random.default_rng(17)
    lines, assignments, outcomes = [], [], []
    for number in range(1_200):
        name, regular = f"c{number:04d}", number % 2 == 0
        for ago in (40, 50, 60) if regular else (200,):
            lines.append(buy(name, f"{name}-{ago}", ago, "milk", "5.00", quantity=1.0))
        arm = "treatment" if rng.random() < 0.5 else "control"
        got = float(rng.exponential(8.0) + (10.0 if regular and arm == "treatment" else 0.0))
        assignments.append(
            {"plan_id": "p1", "customer_id": name, "arm": arm, "action_id": "a1", "probability": 0.5,
             "stratum": "s", "run_id": "r"}
        )  # fmt: skip
        figures = dict.fromkeys(
            ("orders", "redeemed", "orders_before", "revenue_before", "contribution_before"), 0.0
        )
        outcomes.append(
            {"plan_id": "p1", "customer_id": name, "revenue": got, "contribution": 0.3 * got, **figures,
             "simulated": True, "run_id": "r"}
        )  # fmt: skip
    customers = TABLES["customers"].build([{"customer_id": f"c{n:04d}", "source": "t"} for n in range(1_200)])
    plan = {
        "plan_id": "p1", "goal": "g", "round_number": 1, "wave": "pilot", "method": "randomised",
        "as_of": days_ago(28), "days": 28, "audience": 1_200, "chosen": 1_200, "expected_profit": 0.0,
        "expected_profit_se": 0.0, "cost": 0, "fingerprint": "f", "simulated": True, "run_id": "r",
    }  # fmt: skip
    load(
        shop,
        order_lines=build_lines(*lines),
        customers=customers,
        plans=TABLES["plans"].build([plan, {**plan, "plan_id": "p2"}]),
        assignments=TABLES["assignments"].build(assignments),
        outcomes=TABLES["outcomes"].build(outcomes),
    )
    describe(shop, as_of=AS_OF)
    return shop


def test_an_experiment_of_the_workspace_becomes_rules(workspace: Workspace) -> None:
    with workspace.read() as reader:
        types = read_rule_types(reader)
        found = build_effect_tree(reader, types, "p1", outcome="revenue", currency="CNY", seed=1)
        again = build_effect_tree(reader, types, "p1", outcome="revenue", currency="CNY", seed=1)
    assert found == again
    assert (found.grown_on + found.measured_on, found.overall.n) == (1_200, 1_200)
    best, worst = found.drafts[0], found.drafts[-1]
    assert best.figures["lower"] < 10 < best.figures["upper"]
    assert best.figures["proven"]
    assert not worst.figures["proven"]
    assert found.p_differ < 0.001
    assert "未证实" in worst.title.render("zh")
    assert "not proven" not in best.title.render("en")
    assert best.title.render("en").startswith(
        "Effect on revenue +¥"
    ) and "] per customer: " in best.title.render("en")
    assert "每位客户 +¥" in best.title.render("zh")
    assert (best.figures["currency"], found.simulated) == ("CNY", True)


def test_effects_are_told_in_their_unit() -> None:
    effect = Effect(-12.5, 1.0, -np.inf, 1234.5, 0.1, 5, 5, method="m")
    shown = show_effect(effect, "contribution", "EUR")
    assert (shown["effect"], shown["lower"], shown["upper"]) == ("−€12.50", "−∞", "€1,234")
    assert show_effect(effect, "orders", "EUR")["effect"] == "-12.5"


def test_what_cannot_be_answered_says_why(workspace: Workspace) -> None:
    with workspace.read() as reader:
        types = read_rule_types(reader)
        for plan, outcome, code in (
            ("p9", "revenue", "analysis.unknown_plan"),
            ("p1", "luck", "analysis.unknown_outcome"),
            ("p2", "revenue", "analysis.no_outcomes"),
            ("p1", "orders", "analysis.nothing_tells_effect"),
        ):
            with pytest.raises((BadInput, NotReady)) as caught:
                build_effect_tree(reader, types, plan, outcome=outcome, currency="CNY")
            assert caught.value.code == code
