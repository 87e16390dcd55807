"""The step as a whole: tables written as declared, what is lacking said, nothing known that was not yet known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from aimwell.engine.workspace import Workspace
from aimwell.models.experiments import load_experiments
from aimwell.models.next_products import load_counts, measure_ndcg, recommend
from aimwell.models.snapshots import choose_groups, take_snapshot
from aimwell.models.step import learn, read_cards, train
from tests.models.synthetic import DAY, DEPARTMENTS, add_experiment, make_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    workspace = make_shop(tmp_path_factory.mktemp("shop") / "shop")
    add_experiment(workspace)
    yield workspace
    workspace.close()


def test_training_writes_scores_recommendations_and_cards(shop: Workspace) -> None:
    result = train(shop, as_of=DAY)
    assert result.status == "done", [str(lack) for lack in result.lacks]
    json.dumps(result.to_dict())
    names = {card["model"] for card in read_cards(shop)} - {"effects"}
    assert names == {"clv", "next_products", *(f"propensity:{name}" for name in DEPARTMENTS)}
    assert len(result.summary["lift"]) == len(DEPARTMENTS)
    with shop.read() as reader:
        bounds = reader.query(
            "SELECT model, MIN(score) AS low, MAX(score) AS high FROM scores GROUP BY model"
        )
        ranks = reader.query("SELECT customer_id, COUNT(*) AS n FROM recommendations GROUP BY customer_id")
    for row in bounds.to_pylist():
        assert row["low"] >= 0
        assert row["high"] <= 1 or row["model"] == "clv"
    assert set(ranks.column("n").to_pylist()) == {10}


def test_propensity_ranks_better_than_chance(shop: Workspace) -> None:
    train(shop, as_of=DAY)
    aucs = [card["validation"]["auc"] for card in read_cards(shop) if card["kind"] == "propensity"]
    assert min(aucs) > 0.65


def test_learning_covers_everybody_and_every_action(shop: Workspace) -> None:
    result = learn(shop, as_of=DAY)
    assert result.status == "done"
    uplift = result.summary["uplift"]
    assert uplift["status"] == "learnt"
    assert not uplift["heterogeneity"]["proven"]
    assert all(action["effect"]["lower"] < 4.0 < action["effect"]["upper"] for action in uplift["actions"])
    assert "effects" in {card["model"] for card in read_cards(shop)}
    with shop.read() as reader:
        rows = reader.query("SELECT estimate, standard_error, redemption FROM effects")
        customers = reader.query("SELECT COUNT(*) AS n FROM customers").column("n")[0].as_py()
    assert rows.num_rows == customers * 4
    assert rows.column("standard_error").to_numpy().min() > 0
    assert 0 <= rows.column("redemption").to_numpy().min() <= rows.column("redemption").to_numpy().max() <= 1


def test_outcomes_of_a_window_that_has_not_ended_teach_nothing(shop: Workspace) -> None:
    with shop.read() as reader:
        (plan,) = reader.query("SELECT as_of, days FROM plans").to_pylist()
        end = plan["as_of"] + timedelta(days=plan["days"])
        assert load_experiments(reader, as_of=end - timedelta(days=1)) is None
        assert load_experiments(reader, as_of=end) is not None


def test_learning_twice_gives_the_same_effects(shop: Workspace) -> None:
    def read() -> np.ndarray:
        learn(shop, as_of=DAY)
        with shop.read() as reader:
            rows = reader.query("SELECT estimate FROM effects ORDER BY customer_id, action_id")
        return np.asarray(rows.column(0).to_numpy())

    np.testing.assert_array_equal(read(), read())


def test_a_snapshot_knows_nothing_of_its_own_day_or_later(shop: Workspace) -> None:
    day = DAY - timedelta(days=60)
    with shop.run("test", as_of=DAY) as run:
        grouping, names = choose_groups(run, as_of=DAY)
        whole = take_snapshot(run, day=day, grouping=grouping, names=names)
        rows = run.query("SELECT * FROM order_lines WHERE ordered_on < $day", {"day": day})
        run.register("order_lines_before", rows)
        run.execute("CREATE OR REPLACE TEMP VIEW order_lines AS SELECT * FROM order_lines_before")
        cut = take_snapshot(run, day=day, grouping=grouping, names=names)
    assert grouping == "department"
    assert whole.customer_ids == cut.customer_ids
    np.testing.assert_array_equal(whole.whole, cut.whole)
    np.testing.assert_array_equal(whole.own, cut.own)


def test_labels_are_what_was_bought_within_the_window(shop: Workspace) -> None:
    day, later = DAY - timedelta(days=56), DAY - timedelta(days=28)
    with shop.read() as reader:
        grouping, names = choose_groups(reader, as_of=DAY)
        first = take_snapshot(reader, day=day, grouping=grouping, names=names)
        second = take_snapshot(reader, day=later, grouping=grouping, names=names)
        truth = reader.query(
            """
            SELECT DISTINCT line.customer_id, product.department
            FROM order_lines AS line INNER JOIN products AS product ON product.product_id = line.product_id
            WHERE line.ordered_on >= $day AND line.ordered_on < $later
            """,
            {"day": day, "later": later},
        )
    bought = set(zip(truth.column(0).to_pylist(), truth.column(1).to_pylist(), strict=True))
    expected = [[(customer, name) in bought for name in names] for customer in first.customer_ids]
    np.testing.assert_array_equal(first.label(second), expected)


def test_recommendations_rank_own_favourites_first(shop: Workspace) -> None:
    with shop.read() as reader:
        counts = load_counts(reader, until=DAY)
    best = recommend(counts, share=0.0)
    weights = counts.weights.toarray()
    np.testing.assert_array_equal(weights[np.arange(len(weights)), best.products[:, 0]], weights.max(axis=1))
    assert (np.diff(best.scores, axis=1) <= 0).all()


def test_ndcg_by_hand() -> None:
    best = np.array([[5, 1, 2]])
    gains = 1 / np.log2([2, 3, 4])
    assert measure_ndcg(best, [{1, 2}], top=3)[0] == pytest.approx(
        (gains[1] + gains[2]) / (gains[0] + gains[1])
    )
    assert measure_ndcg(best, [{5}], top=3)[0] == 1.0


@pytest.mark.parametrize(
    ("customers", "days", "departments", "revenue"),
    [(3, 244, True, True), (320, 20, True, True), (320, 244, False, False)],
)
def test_poor_data_are_said_to_lack_not_crashed_on(
    tmp_path: Path, customers: int, days: int, departments: bool, revenue: bool
) -> None:
    workspace = make_shop(
        tmp_path / "shop", customers=customers, days=days, departments=departments, revenue=revenue
    )
    result = train(workspace, as_of=DAY)
    assert result.status in ("partial", "skipped")
    assert result.lacks
    assert all(lack.render("zh") != lack.render("en") for lack in result.lacks)
    json.dumps(result.to_dict())
    workspace.close()


def test_an_empty_workspace_is_no_crash(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "shop", zone="UTC", currency="EUR")
    assert train(workspace, as_of=DAY).status == "skipped"
    assert learn(workspace, as_of=DAY).status == "skipped"
    assert read_cards(workspace) == []
    workspace.close()


def test_an_experiment_of_three_teaches_nothing_and_says_so(tmp_path: Path) -> None:
    workspace = make_shop(tmp_path / "shop", customers=5)
    add_experiment(workspace, customers=3)
    result = learn(workspace, as_of=DAY)
    assert result.status == "skipped"
    assert "too few" in str(result.lacks[0].render("en"))
    workspace.close()
