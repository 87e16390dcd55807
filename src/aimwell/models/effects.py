"""Effects: what each action changes for each customer, learnt from randomised plans only.

Method: a multi-arm R-learner, Bayesian and linear. The outcome is residualised by what was known before
(cross-fitted ridge), the treatment by its known probability; what is left is regressed on the features of
``effect_design`` with ``block_ridge``, so that differences between customers or actions which the data do not
support shrink to the mean. Differences are then calibrated out of fold: what is promised is what is realised.

Sources: Nie and Wager (2021), "Quasi-oracle estimation of heterogeneous treatment effects" (the R-learner);
Chernozhukov et al. (2018) (the calibration). Pure: ``experiments`` reads the tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import NotReady
from aimwell.core.estimate import Estimate
from aimwell.core.seeds import generator
from aimwell.core.text import say
from aimwell.models.baseline import Baseline, fit_baseline
from aimwell.models.block_ridge import Posterior, average_posterior, sample_posterior
from aimwell.models.effect_design import ActionSet, CustomerFeatures, EffectDesign
from aimwell.models.redemption import RedemptionModel, fit_redemption
from aimwell.models.uplift import Calibration, UpliftCurve, calibrate, measure_qini

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

FOLDS = 5
SMALLEST_ARM = 20
"""Fewer rows than this in either arm teach nothing that could be told from noise."""
SLOPE_PRIOR_SD = 0.5
"""How far the slope of differences is thought to stray from 1 before the data are seen."""


@dataclass(frozen=True)
class EffectData:
    """n rows of randomised experiments, one per customer and plan.

    ``outcome`` contribution in the window; ``treated``; ``probability`` of treatment given that the customer is
    in the experiment; ``action`` the place of the intended action in ``actions`` (−1: none or unknown, then
    ``draw`` must say what might have been); ``features`` and ``covariates`` (n × C) as known before the window;
    ``customer`` codes, so that folds keep a customer together; ``redeemed`` whether the offer was redeemed;
    ``draw`` (n × A) the probabilities with which the intended action was drawn, where it was drawn at random:
    a row of NaN (or None for all) means that the action was chosen, not drawn.
    """

    actions: ActionSet
    outcome: Floats
    treated: Flags
    probability: Floats
    action: Integers
    features: CustomerFeatures
    covariates: Floats
    customer: Integers
    redeemed: Flags
    draw: Floats | None = None

    def __len__(self) -> int:
        return len(self.outcome)


@dataclass(frozen=True)
class Prediction:
    """n × A arrays: ``estimate`` and ``standard_error`` in outcome units, ``raw`` (NaN: never tried),
    ``redemption`` (0–1)."""

    estimate: Floats
    standard_error: Floats
    raw: Floats
    redemption: Floats


@dataclass(frozen=True)
class Validation:
    """How the out-of-fold effects did on the randomised rows."""

    qini: Estimate
    curve: UpliftCurve
    calibration: Calibration
    n: int


@dataclass(frozen=True)
class EffectModel:
    """Effects for any customer and action. ``slope`` ≤ 1 draws differences towards ``centre``."""

    design: EffectDesign
    posterior: Posterior
    centre: float
    slope: float
    shift: float
    """What is added to every effect, so that their mean over customers is right."""
    raw_coefficients: Floats
    redemption: RedemptionModel
    validation: Validation
    effects: dict[str, Estimate]
    """Mean effect of each tried action over the customers of the experiments, shrunken."""
    raw_means: dict[str, float]
    """The same without shrinkage; NaN where an arm is missing."""
    shrinkage: float
    """Spread of the shrunken action means ÷ spread of the raw ones; 0 = all alike, 1 = untouched."""
    baseline: Baseline

    def predict(self, features: CustomerFeatures, actions: ActionSet | None = None) -> Prediction:
        """Effects of ``actions`` (default: those learnt; else ids must be among them) on n customers."""
        known = self.design.actions
        ids = known.ids if actions is None else actions.ids
        places = [known.ids.index(name) for name in ids]
        scaled = self.design.scale(features)
        shape = (len(features), len(places))
        estimate, error, raw = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        root = take_root(self.posterior.covariance)
        for column, place in enumerate(places):
            rows = self.design.build(scaled, np.full(len(features), place, dtype=np.int64))
            estimate[:, column] = (
                self.shift + self.centre + self.slope * (rows @ self.posterior.mean - self.centre)
            )
            error[:, column] = np.sqrt(np.sum((rows @ root) ** 2, axis=1))
            traits = np.column_stack([scaled.affinity[:, known.offers[place]], scaled.modifiers])
            raw[:, column] = self.raw_coefficients[place, 0] + traits @ self.raw_coefficients[place, 1:]
        return Prediction(estimate, error, raw, self.redemption.predict(scaled, np.array(places)))

    @property
    def proven(self) -> bool:
        """Whether customers differ in their effects: predicted differences come true (p < 1 %) and the Qini's
        interval lies above 0. One of the two alone was fooled by men's e-mail of Hillstrom."""
        return self.validation.calibration.p_value < 0.01 and self.validation.qini.lower > 0

    def summarize(self) -> dict[str, float]:
        """Named numbers for the model card."""
        slope = self.validation.calibration
        return {
            "qini": self.validation.qini.estimate,
            "qini_lower": self.validation.qini.lower,
            "qini_upper": self.validation.qini.upper,
            "heterogeneity_p_value": slope.p_value,
            "calibration_slope": slope.slope if np.isfinite(slope.standard_error) else 0.0,
            "applied_slope": self.slope,
            "variance_explained_before": self.baseline.explained,
            **{f"sd {name}": sd for name, sd in self.posterior.sds.items()},
        }


@dataclass(frozen=True)
class _Regression:
    """The second stage. ``contrast`` (n) is the centred treatment, ``rows`` (n × P) the same times φ."""

    rows: Floats
    contrast: Floats
    residual: Floats
    used: Flags
    fold: Integers
    noise: Floats

    def cut(self, keep: Flags) -> tuple[Floats, Floats]:
        rows = self.rows[keep] / self.noise[keep, None]
        return rows.T @ rows, rows.T @ (self.residual[keep] / self.noise[keep])


def learn_effects(
    experiments: EffectData, *, seed: int = 0, draws: int = 300, repetitions: int = 200
) -> EffectModel:
    """Learn from ``experiments``; NotReady when an arm has fewer than 20 rows.

    ``draws`` of the sampler and ``repetitions`` of the bootstrap trade time for smoothness.
    """
    _require_arms(experiments)
    random = generator(seed, "effects")
    design = EffectDesign.fit(experiments.features, experiments.actions)
    scaled = design.scale(experiments.features)
    fold = _draw_folds(experiments.customer, random)
    baseline = fit_baseline(experiments.outcome, experiments.covariates, fold=fold, folds=FOLDS)
    regression = _set_up(experiments, design, scaled, baseline, fold)
    blocks = design.list_blocks(_find_level(experiments))
    parts = [regression.cut(fold == k) for k in range(FOLDS)]
    gram = np.sum([part for part, _ in parts], axis=0)
    moment = np.sum([part for _, part in parts], axis=0)
    posterior = sample_posterior(gram, moment, blocks=blocks, random=random, draws=draws)
    held_out = np.zeros((FOLDS, len(moment)))
    for k, (part, part_moment) in enumerate(parts):
        held_out[k] = average_posterior(
            gram - part, moment - part_moment, blocks=blocks, random=random, draws=max(draws // 2, 50)
        )
    validation = _validate(experiments, design, scaled, regression, held_out, random, repetitions)
    slope = _choose_slope(validation.calibration)
    averages = _average_rows(experiments, design, scaled)
    shift = _recentre(regression, held_out, _find_spread(averages, posterior))
    centre, effects = _average_actions(experiments, averages, posterior, slope, shift)
    raw, raw_means = _fit_raw(experiments, scaled, regression)
    return EffectModel(
        design=design,
        posterior=posterior,
        centre=centre,
        slope=slope,
        shift=shift,
        raw_coefficients=raw,
        redemption=fit_redemption(
            experiments.actions, experiments.action, scaled, experiments.redeemed, treated=experiments.treated
        ),
        validation=validation,
        effects=effects,
        raw_means=raw_means,
        shrinkage=_measure_shrinkage(effects, raw_means),
        baseline=baseline,
    )


def _require_arms(data: EffectData) -> None:
    treated, control = int(np.sum(data.treated)), int(np.sum(~data.treated))
    if min(treated, control) < SMALLEST_ARM:
        raise NotReady(
            "models.experiment_too_small",
            say(
                "The experiments hold {treated} treated and {control} untreated customers: too few to learn effects.",
                treated=treated,
                control=control,
            ),
            remedy=say(
                "Run a larger pilot: at least {smallest} customers in each arm.", smallest=SMALLEST_ARM
            ),
        )


def _draw_folds(customer: Integers, random: np.random.Generator) -> Integers:
    _, code = np.unique(customer, return_inverse=True)
    return np.asarray(random.permutation(int(code.max()) + 1)[code] % FOLDS, dtype=np.int64)


def _find_level(data: EffectData) -> float:
    """The size that a mean effect may well have: a fifth of the outcome, a tenth of its spread."""
    control = data.outcome[~data.treated]
    return max(0.2 * abs(float(np.mean(control))), 0.1 * float(np.std(control)), 1e-9)


def _set_up(
    data: EffectData, design: EffectDesign, scaled: CustomerFeatures, baseline: Baseline, fold: Integers
) -> _Regression:
    """Centre treatment and outcome, and take out of both what linear covariates explain."""
    drawn = np.zeros(len(data), dtype=np.bool_)
    if data.draw is not None:
        drawn = np.asarray(np.isfinite(data.draw).all(axis=1))
    used: Flags = np.asarray((data.action >= 0) | drawn)
    rows = design.build(scaled, np.maximum(data.action, 0))
    centre: Floats = np.asarray(data.probability)[:, None] * _expect_rows(data, design, scaled, rows, drawn)
    rows = np.where(used[:, None], np.where(data.treated[:, None], rows, 0.0) - centre, 0.0)
    noise = baseline.noise
    contrast = np.where(used, data.treated - data.probability, 0.0)
    residual = np.where(used, baseline.residual, 0.0)
    span = baseline.basis / noise[:, None]
    span[~used] = 0.0
    targets = np.column_stack([rows, contrast, residual]) / noise[:, None]
    gram = span.T @ span
    gram[np.diag_indices_from(gram)] += 1e-3 * max(float(np.trace(gram)) / len(gram), 1e-12)
    fitted = baseline.basis @ np.linalg.solve(gram, span.T @ targets)
    fitted[~used] = 0.0
    return _Regression(
        rows - fitted[:, :-2], contrast - fitted[:, -2], residual - fitted[:, -1], used, fold, noise
    )


def _expect_rows(
    data: EffectData, design: EffectDesign, scaled: CustomerFeatures, rows: Floats, drawn: Flags
) -> Floats:
    """φ averaged over the actions that might have been drawn; the row itself where it was chosen."""
    expected = rows.copy()
    if data.draw is None or not drawn.any():
        return expected
    some = scaled.take(drawn)
    expected[drawn] = 0.0
    for place in np.flatnonzero(np.nansum(data.draw, axis=0) > 0):
        built = design.build(some, np.full(len(some), place, dtype=np.int64))
        expected[drawn] += data.draw[drawn, place, None] * built
    return expected


def _validate(
    data: EffectData,
    design: EffectDesign,
    scaled: CustomerFeatures,
    regression: _Regression,
    held_out: Floats,
    random: np.random.Generator,
    repetitions: int,
) -> Validation:
    """Out of fold: every row is judged by coefficients that never saw its customer."""
    used, known = regression.used, data.action >= 0
    built = design.build(scaled, np.maximum(data.action, 0))
    # Folds differ in their mean effect by chance alone: only differences from it may rank customers.
    centre = (held_out @ built[known].mean(axis=0))[regression.fold]
    beta = held_out[regression.fold]
    score = np.sum(built * beta, axis=1) - centre
    predicted = np.sum(regression.rows * beta, axis=1) - regression.contrast * centre
    calibration = calibrate(
        regression.residual[used],
        regression.contrast[used],
        predicted[used],
        weight=1 / regression.noise[used] ** 2,
    )
    qini, curve = measure_qini(
        score[known],
        regression.residual[known],
        data.treated[known],
        probability=data.probability[known],
        random=random,
        repetitions=repetitions,
    )
    return Validation(qini, curve, calibration, int(np.sum(known)))


def _recentre(regression: _Regression, held_out: Floats, spread: float) -> float:
    """What the out-of-fold effects miss on average, in money; drawn to 0 by how surely it is known.

    The posterior weighs customers by how quiet they are, and the quiet ones may differ in their effects: the mean
    over all customers, each counted once, is what a plan promises. ``spread`` is the posterior's sd of the mean.
    """
    contrast = regression.contrast
    missed = regression.residual - np.sum(regression.rows * held_out[regression.fold], axis=1)
    scale = max(float(contrast @ contrast), 1e-12)
    shift = float(contrast @ missed) / scale
    variance = float(np.sum((contrast * (missed - shift * contrast)) ** 2)) / scale**2
    return shift * spread**2 / max(spread**2 + variance, 1e-12)


def _choose_slope(calibration: Calibration) -> float:
    """The slope to apply: the prior belief in the shrunken estimates, moved by what was realised; 0 to 1."""
    if not np.isfinite(calibration.standard_error):
        return 1.0
    prior, seen = 1 / SLOPE_PRIOR_SD**2, 1 / max(calibration.standard_error, 1e-6) ** 2
    return float(np.clip((prior + seen * calibration.slope) / (prior + seen), 0.0, 1.0))


def _average_rows(data: EffectData, design: EffectDesign, scaled: CustomerFeatures) -> dict[int, Floats]:
    """By the place of each tried action: its φ (P), averaged over the customers of the experiments."""
    tried = [place for place in range(len(data.actions)) if np.any(data.treated & (data.action == place))]
    count = len(data)
    return {
        place: design.build(scaled, np.full(count, place, dtype=np.int64)).mean(axis=0) for place in tried
    }


def _find_spread(averages: dict[int, Floats], posterior: Posterior) -> float:
    if not averages:
        return 0.0
    row = np.mean(list(averages.values()), axis=0)
    return float(np.sqrt(max(row @ posterior.covariance @ row, 0.0)))


def _average_actions(
    data: EffectData, averages: dict[int, Floats], posterior: Posterior, slope: float, shift: float
) -> tuple[float, dict[str, Estimate]]:
    """The mean over tried actions, towards which ``slope`` draws, and each one's mean effect."""
    means = np.array([row @ posterior.mean for row in averages.values()])
    centre = float(means.mean()) if averages else 0.0
    effects: dict[str, Estimate] = {}
    for (place, row), mean in zip(averages.items(), means, strict=True):
        middle = shift + centre + slope * (float(mean) - centre)
        error = 1.96 * float(np.sqrt(row @ posterior.covariance @ row))
        count = int(np.sum(data.action == place))
        effects[data.actions.ids[place]] = Estimate(
            middle, middle - error, middle + error, count, "R-learner, hierarchical Bayes"
        )
    return centre, effects


def _fit_raw(
    data: EffectData, scaled: CustomerFeatures, regression: _Regression
) -> tuple[Floats, dict[str, float]]:
    """Least squares without any prior: what a naive learner would believe.

    Coefficients A × (J + 2), an intercept for each action and the same slopes for all (NaN: never tried in both
    arms), and each action's plain mean effect.
    """
    rows = np.flatnonzero((data.action >= 0) & regression.used)
    action, contrast = data.action[rows], data.treated[rows] - data.probability[rows]
    residual = regression.residual[rows]
    traits = np.column_stack([scaled.affinity[rows, data.actions.offers[action]], scaled.modifiers[rows]])
    columns = np.column_stack([np.eye(len(data.actions))[action], traits]) * contrast[:, None]
    found = np.linalg.lstsq(columns, residual, rcond=1e-8)[0]
    raw = np.column_stack(
        [found[: len(data.actions)], np.tile(found[len(data.actions) :], (len(data.actions), 1))]
    )
    means = {}
    for place, name in enumerate(data.actions.ids):
        own = action == place
        arms = data.treated[rows][own]
        tried = arms.any() and not arms.all()
        raw[place] = raw[place] if tried else np.nan
        means[name] = (
            float(contrast[own] @ residual[own] / (contrast[own] @ contrast[own])) if tried else np.nan
        )
    return raw, means


def _measure_shrinkage(effects: dict[str, Estimate], raw_means: dict[str, float]) -> float:
    pairs = [
        (effect.estimate, raw_means[name]) for name, effect in effects.items() if np.isfinite(raw_means[name])
    ]
    if len(pairs) < 2:
        return 1.0
    shrunken, unshrunken = np.std(np.array(pairs), axis=0)
    return float(min(shrunken / max(unshrunken, 1e-12), 1.0))


def take_root(covariance: Floats) -> Floats:
    """A root R with R·Rᵀ = ``covariance`` (P × P)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
