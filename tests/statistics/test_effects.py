"""Effects against planted truth: coverage, shrinkage, kept promises; and Hillstrom's real experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from aimwell.models.effect_design import ActionSet, CustomerFeatures
from aimwell.models.effects import EffectData, EffectModel, learn_effects
from aimwell.models.uplift import measure_qini

HILLSTROM = Path(__file__).parents[2] / "../shared/data/hillstrom/hillstrom.csv"
OFFERS, CHANNELS = ("everything", "meat", "produce", "bakery"), ("call", "email", "mail", "sms")
ACTIONS = ActionSet.from_pairs({f"{o}:{c}": (o, c) for o in OFFERS for c in CHANNELS})
SIGNAL = 3.0
ROWS, SEEDS = 1500, 8


@dataclass(frozen=True)
class World:
    data: EffectData
    effects: np.ndarray


def make_world(seed: int, *, noise: float, differences: float = 1.0) -> World:
    """16 actions, effects with mean 4 and (differences = 1) an sd near 3 over customers and actions.

    ``noise`` is the standard error of an action's plain mean effect (its own treated against its own
    controls), in units of the sd of effects.
    """
    random = np.random.default_rng(seed)
    level = random.gamma(2.0, 25.0, ROWS)
    affinity = random.dirichlet([2.0, 1.0, 1.0, 1.0], ROWS)
    traits = np.column_stack([random.beta(2, 6, ROWS), np.log1p(level), random.exponential(1.0, (ROWS, 2))])
    scaled = (traits - traits.mean(axis=0)) / traits.std(axis=0)
    offers, channels = random.normal(0, 1.3, 4), random.normal(0, 1.3, 4)
    slopes = random.normal(0, 0.8, 4)
    effects = np.zeros((ROWS, len(ACTIONS)))
    for place in range(len(ACTIONS)):
        offer, channel = ACTIONS.offers[place], ACTIONS.channels[place]
        own = (affinity[:, offer] - affinity[:, offer].mean()) / affinity[:, offer].std()
        effects[:, place] = offers[offer] + channels[channel] + scaled @ slopes + 1.2 * own
    effects = 4.0 + differences * SIGNAL * (effects - effects.mean()) / effects.std()
    share, each = 0.75, ROWS / len(ACTIONS)
    spread = noise * SIGNAL / np.sqrt(1 / (share * each) + 1 / ((1 - share) * each))
    action = random.integers(0, len(ACTIONS), ROWS)
    treated = random.random(ROWS) < share
    outcome = level + random.normal(0, spread, ROWS) * np.sqrt(level / level.mean())
    outcome += treated * effects[np.arange(ROWS), action]
    data = EffectData(
        actions=ACTIONS,
        outcome=outcome,
        treated=treated,
        probability=np.full(ROWS, share),
        action=action,
        features=CustomerFeatures(traits, affinity),
        covariates=np.column_stack([level, traits]),
        customer=np.arange(ROWS),
        redeemed=treated & (random.random(ROWS) < 0.2),
        draw=np.full((ROWS, len(ACTIONS)), 1 / len(ACTIONS)),
    )
    return World(data, effects)


def learn_world(world: World) -> EffectModel:
    return learn_effects(world.data, seed=1, draws=150, repetitions=50)


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_planted_effects_are_covered_shrunken_and_kept(noise: float) -> None:
    covered, shrunken, raw, promised, realised = [], [], [], 0.0, 0.0
    for seed in range(SEEDS):
        world = make_world(seed, noise=noise)
        found = learn_world(world).predict(world.data.features)
        off = found.estimate - world.effects
        covered.append(np.mean(np.abs(off) <= 1.96 * found.standard_error))
        shrunken.append(np.mean(off**2))
        raw.append(np.nanmean((found.raw - world.effects) ** 2))
        best = np.argmax(found.estimate, axis=1)
        rows = np.arange(ROWS)
        top = np.argsort(-found.estimate[rows, best])[: ROWS // 3]
        promised += found.estimate[top, best[top]].sum()
        realised += world.effects[top, best[top]].sum()
    assert 0.90 <= np.mean(covered) <= 1.0
    assert np.mean(shrunken) < 0.7 * np.mean(raw)
    assert 0.8 <= promised / realised <= 1.2


def test_no_differences_are_seldom_called_proven() -> None:
    models = [learn_world(make_world(100 + seed, noise=1.0, differences=0.0)) for seed in range(20)]
    assert sum(model.proven for model in models) <= 1
    spread = [np.std([effect.estimate for effect in model.effects.values()]) for model in models]
    plain = [np.nanstd(list(model.raw_means.values())) for model in models]
    assert np.mean(spread) < 0.4 * np.mean(plain)


def test_large_differences_are_proven() -> None:
    models = [learn_world(make_world(200 + seed, noise=0.5)) for seed in range(5)]
    assert all(model.proven for model in models)


def test_redemption_follows_the_actions() -> None:
    world = make_world(0, noise=1.0)
    redemption = learn_world(world).predict(world.data.features).redemption
    assert redemption.mean() == pytest.approx(0.2, abs=0.04)


def load_hillstrom(arm: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not HILLSTROM.exists():
        pytest.skip("Hillstrom is not beside the repository")
    rows = duckdb.execute(
        "SELECT womens, mens, history, recency, newbie, zip_code, channel, segment, visit "
        f"FROM read_csv('{HILLSTROM}') WHERE segment IN ('{arm}', 'No E-Mail')"
    ).fetchnumpy()
    traits = [
        rows["womens"],
        rows["mens"],
        np.log(rows["history"].astype(float)),
        rows["recency"],
        rows["newbie"],
    ]
    traits += [rows["zip_code"] == "Urban", rows["zip_code"] == "Rural"]
    traits += [rows["channel"] == "Web", rows["channel"] == "Phone"]
    return np.column_stack(traits).astype(float), rows["segment"] == arm, rows["visit"].astype(float)


def make_mailing(traits: np.ndarray, treated: np.ndarray, outcome: np.ndarray) -> EffectData:
    count = len(outcome)
    return EffectData(
        actions=ActionSet.from_pairs({"mail:email": ("mail", "email")}),
        outcome=outcome,
        treated=np.asarray(treated, dtype=bool),
        probability=np.full(count, float(np.mean(treated))),
        action=np.zeros(count, dtype=np.int64),
        features=CustomerFeatures(traits, np.zeros((count, 1))),
        covariates=traits,
        customer=np.arange(count),
        redeemed=np.zeros(count, dtype=bool),
    )


def test_womens_email_of_hillstrom_reaches_the_target_out_of_fold() -> None:
    traits, treated, visit = load_hillstrom("Womens E-Mail")
    score = np.zeros(len(visit))
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    for train, test in folds.split(traits, treated * 2 + visit):
        model = learn_effects(make_mailing(traits[train], treated[train], visit[train]), repetitions=5)
        features = CustomerFeatures(traits[test], np.zeros((len(test), 1)))
        score[test] = model.predict(features).estimate[:, 0]
    qini, _ = measure_qini(score, visit, treated, random=np.random.default_rng(0), repetitions=100)
    assert qini.estimate * 1000 >= 7.0
    assert qini.lower > 0


def test_mens_email_of_hillstrom_shows_no_difference_between_customers() -> None:
    traits, treated, visit = load_hillstrom("Mens E-Mail")
    model = learn_effects(make_mailing(traits, treated, visit), repetitions=100)
    assert not model.proven
    effect = model.effects["mail:email"]
    assert effect.lower < 0.0766 < effect.upper
