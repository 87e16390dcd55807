"""The card of each model of a round, in words and figures. Reads and writes no table."""

from __future__ import annotations

from datetime import date

from aimwell.core.text import Text, say
from aimwell.models.card import ModelCard
from aimwell.models.clv import ClvModel, ClvPrediction, ClvValidation
from aimwell.models.effects import EffectModel
from aimwell.models.next_products import NextProductsQuality
from aimwell.models.propensity import Quality
from aimwell.models.snapshots import Grouping


def describe_clv(
    model: ClvModel, prediction: ClvPrediction, validation: ClvValidation, *, as_of: date
) -> ModelCard:
    """The card of ``clv`` (and of ``active``, which comes with it)."""
    return ModelCard(
        model="clv",
        title=say("Customer lifetime value"),
        kind="clv",
        purpose=say("What margin each customer will bring in the next 52 weeks, discounted by 10 % a year."),
        data=say(
            "Order days and revenue of every customer before the day; margin by product cost where known."
        ),
        method="BG/NBD × Gamma–Gamma, maximum likelihood",
        source="Fader, Hardie and Lee (2005); Fader and Hardie (2013)",
        as_of=as_of,
        n_train=len(prediction.estimate),
        n_test=validation.n,
        validation=validation.to_dict(),
        validated=say(
            "Fitted before {start}, compared with the order days from then to {end}.",
            start=validation.start.isoformat(),
            end=validation.end.isoformat(),
        ),
        intervals=say("95 % of possible futures, drawn with the uncertainty of parameters and customer."),
        limits=say(
            "Assumes that what customers do goes on as it was: no seasons, no campaigns. Says what a customer "
            "is worth, not what an action would change."
        ),
        parameters={
            **model.purchases.parameters,
            **model.value.parameters,
            "log_likelihood": model.purchases.log_likelihood,
            "margin_rate": model.margin_rate,
        },
        curves={"calibration": [[p, o, float(n)] for p, o, n in validation.calibration]},
    )


def title_propensity(grouping: Grouping, group: str) -> Text:
    """How the propensity to buy a group is called."""
    if grouping == "any":
        return say("Propensity to order")
    return say("Propensity to buy {group}", group=group)


def describe_propensity(grouping: Grouping, group: str, quality: Quality, *, as_of: date) -> ModelCard:
    """The card of ``propensity:<group>``."""
    return ModelCard(
        model=f"propensity:{group}",
        title=title_propensity(grouping, group),
        kind="propensity",
        purpose=say(
            "How likely each customer is to buy it within the next 28 days, without our doing anything."
        ),
        data=say(
            "Recency, frequency, revenue and discounts of every customer before the day, in all and in it."
        ),
        method="mean of ridge logistic regression and gradient-boosted trees",
        source="Ke et al. (2017), LightGBM",
        as_of=as_of,
        n_train=quality.n_train,
        n_test=quality.n_test,
        validation=quality.to_dict(),
        validated=say(
            "Trained on earlier windows of 28 days, tested on the last one, then fitted again with it."
        ),
        intervals=say("None: the calibration curve shows how true the probabilities are."),
        limits=say(
            "A likely buyer is not one whom an action persuades: offers are chosen by effects, not by this."
        ),
        curves={"lift": quality.lift_curve, "calibration": quality.calibration_curve},
    )


def describe_next_products(quality: NextProductsQuality, *, as_of: date, customers: int) -> ModelCard:
    """The card of ``next_products``."""
    return ModelCard(
        model="next_products",
        title=say("Next products"),
        kind="recommendation",
        purpose=say("Which ten products each customer will most likely buy next."),
        data=say(
            "Days on which each product was bought, of products with at least ten buyers; newer days weigh more."
        ),
        method="personal decayed counts + user-kNN",
        source="Faggioli, Polato and Aiolli (2020)",
        as_of=as_of,
        n_train=customers,
        n_test=quality.n,
        validation={
            "ndcg": quality.ndcg,
            "baseline_ndcg": quality.baseline_ndcg,
            "share_of_similar_customers": quality.share,
        },
        validated=say(
            "Known before the last 28 days, compared with what was bought in them (NDCG of the first ten)."
        ),
        intervals=say("None: a score only ranks the products of one customer."),
        limits=say(
            "Mostly what people buy anyway: good for reminders, not a proof that recommending sells more."
        ),
    )


def describe_effects(model: EffectModel, *, as_of: date, n: int, plans: int, simulated: bool) -> ModelCard:
    """The card of ``effects``."""
    return ModelCard(
        model="effects",
        title=say("Effects of our actions (uplift)"),
        kind="uplift",
        purpose=say(
            "How much contribution each action adds for each customer, before the cost of the contact."
        ),
        data=say(
            "{n} customers of {plans} randomised plans, treatment and control, as they were known on the plan's day.",
            n=n,
            plans=plans,
        ),
        method="multi-arm R-learner, hierarchical Bayes, calibrated out of fold",
        source="Nie and Wager (2021); Gelman (2006); Chernozhukov et al. (2018)",
        as_of=as_of,
        n_train=n,
        n_test=model.validation.n,
        validation=model.summarize(),
        validated=say(
            "Out of fold: each customer is judged by coefficients that were learnt from the others."
        ),
        intervals=say("The estimate ± 1.96 standard errors holds the true effect with 95 % probability."),
        limits=say(
            "What the data do not support is shrunk to the average of the action. Holds for customers and "
            "offers like those tried."
        ),
        curves={"uplift": [[row["share"], row["gain"]] for row in model.validation.curve.to_rows()]},
        simulated=simulated,
    )
