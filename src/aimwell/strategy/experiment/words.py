"""A test's design in words and as a dictionary of figures, for the screen, for JSON and for the store. Pure."""

from __future__ import annotations

import math
from typing import Any

from aimwell.core.lists import join_list
from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.strategy.experiment.markets import MarketTest
from aimwell.strategy.experiment.plan import Guard, Sizing, TestDesign


def describe_design(design: TestDesign, currency: str) -> list[Text]:
    """Feasibility first, then how to reach the target, doubt, duration, looks, guards and holdout; one text each."""
    texts = [describe_feasibility(design, currency)]
    if 0 < design.visible.lower <= design.visible.upper < math.inf:
        texts.append(
            say(
                "The past tells that effect to within {lower} to {upper} (95 % interval, bootstrap-t).",
                lower=show_effect(design, design.visible.lower, currency),
                upper=show_effect(design, design.visible.upper, currency),
            )
        )
    if not design.enough:
        texts.append(_describe_needed(design))
    if design.visible.skewed:
        texts.append(_describe_skew(design))
    texts.append(_describe_days(design))
    texts.append(_describe_looks(design))
    texts.extend(_describe_guard(guard) for guard in design.guards)
    if design.sizing is not None:
        texts.extend(_describe_sizing(design, design.sizing, currency))
    else:
        texts.append(
            say(
                "What holding customers out earns is unknown: say with --value what one unit of the outcome is worth."
            )
        )
    return texts


def describe_feasibility(design: TestDesign, currency: str) -> Text:
    """Whether the target can be seen, before anything is launched."""
    question, audience = design.question, f"{len(design.history.customers):,}"
    share = f"{question.control_share:.0%}"
    if design.history.days is None:
        setting = say("an audience of {audience} and {share} in control", audience=audience, share=share)
    else:
        setting = say(
            "an audience of {audience}, {share} in control and {days} days",
            audience=audience,
            share=share,
            days=design.history.days,
        )
    if not math.isfinite(design.visible.smallest):
        return say("With {setting} no effect can be shown.", setting=setting)
    smallest = show_effect(design, design.visible.smallest, currency)
    target = show_effect(design, abs(design.wanted), currency)
    if design.enough:
        return say(
            "With {setting} the smallest visible effect is {smallest}: your target of {target} can be seen.",
            setting=setting,
            smallest=smallest,
            target=target,
        )
    return say(
        "With {setting} the smallest visible effect is {smallest}: your target of {target} cannot be seen.",
        setting=setting,
        smallest=smallest,
        target=target,
    )


def show_effect(design: TestDesign, effect: float, currency: str) -> Text:
    """An effect in the outcome's unit, and as a share of its level."""
    level = abs(design.spread.mean.estimate)
    relative = f"{effect / level:.1%}" if level > 0 else "-"
    if design.history.kind == "share":
        return say(
            "{points} pp ({relative} of the baseline)", points=f"{effect * 100:.2g}", relative=relative
        )
    if design.history.kind == "money":
        amount = show_money(effect, currency)
        return say("{amount} per customer ({relative} of the baseline)", amount=amount, relative=relative)
    return say(
        "{amount} per customer ({relative} of the baseline)", amount=f"{effect:.3g}", relative=relative
    )


def describe_markets(test: MarketTest, target: float) -> Text:
    """Whether the target can be seen in these markets."""
    pairs, days = len(test.pairs), test.window
    wanted = f"{abs(target):.1%}"
    if not math.isfinite(test.smallest):
        return say(
            "With {pairs} pairs of markets and {days} days not even an effect of 100 % can be shown.",
            pairs=pairs,
            days=days,
        )
    smallest = f"{test.smallest:.1%}"
    if test.smallest <= abs(target):
        return say(
            "With {pairs} pairs of markets and {days} days the smallest visible effect is {smallest} of sales: "
            "your target of {target} can be seen.",
            pairs=pairs,
            days=days,
            smallest=smallest,
            target=wanted,
        )
    return say(
        "With {pairs} pairs of markets and {days} days the smallest visible effect is {smallest} of sales: "
        "your target of {target} cannot be seen.",
        pairs=pairs,
        days=days,
        smallest=smallest,
        target=wanted,
    )


def describe_placebo(test: MarketTest) -> Text:
    """How power was found."""
    return say(
        "Found by {count} placebo tests in the past: without an effect {alarms} of them raised a false alarm.",
        count=test.placebos,
        alarms=f"{test.false_alarms:.1%}",
    )


def to_payload(design: TestDesign, currency: str) -> dict[str, Any]:
    """For JSON and the store: figures, the rule, and the sentences in both languages; no customer is named."""
    spread, visible, stopping = design.spread, design.visible, design.stopping
    return {
        "name": design.question.name,
        "outcome": design.history.name,
        "kind": design.history.kind,
        "days": design.history.days,
        "segment": design.question.segment,
        "salt": design.salt,
        "audience": len(design.history.customers),
        "held_out_of_all_marketing": design.held_out,
        "arms": design.assignment.count(),
        "shares": dict(zip(design.assignment.arms.names, design.assignment.arms.shares, strict=True)),
        "strata": {"by": design.question.strata, "count": design.strata, "imbalance": design.imbalance},
        "clusters": None
        if spread.clustering is None
        else {
            "by": design.question.cluster,
            "count": spread.clustering.clusters,
            "mean_size": spread.clustering.mean_size,
            "correlation": spread.clustering.correlation,
            "design_effect": spread.design_effect,
        },
        "baseline": spread.mean.to_dict(),
        "standard_deviation": {"plain": spread.sd_plain, "adjusted": spread.sd},
        "variance_removed": spread.variance_removed,
        "smallest_effect": {
            "estimate": _finite(visible.smallest),
            "lower": _finite(visible.lower),
            "upper": _finite(visible.upper),
            "relative": visible.relative,
            "n": visible.n_treatment + visible.n_control,
            "method": "normal approximation, variance from the past by moments, its interval by bootstrap-t",
        },
        "expected_buyers": visible.expected_buyers,
        "tried_on_past": None if design.trial is None else {**vars(design.trial), "simulated": True},
        "target": {"relative": design.question.target, "absolute": design.wanted, "enough": design.enough},
        "needed": {
            "customers": design.needed,
            "at_equal_arms": design.needed_at_half,
            "days": design.days_needed,
        },
        "stopping": {
            "shape": stopping.shape,
            "alpha": stopping.alpha,
            "shares": list(stopping.times),
            "limits": [_finite(limit) for limit in stopping.limits],
            "factor": stopping.factor,
        },
        "guards": [{**vars(guard), "enough": guard.enough} for guard in design.guards],
        "holdout": None if design.sizing is None else _summarise_sizing(design.sizing),
        "sentences": [text.both() for text in describe_design(design, currency)],
        "currency": currency,
    }


def summarise_markets(test: MarketTest, *, by: str, salt: str, target: float) -> dict[str, Any]:
    """For JSON and the store: the pairs and what they can see."""
    names = test.panel.markets
    pairs = zip(test.treated.tolist(), test.control.tolist(), strict=True)
    return {
        "by": by,
        "days": test.window,
        "salt": salt,
        "markets": len(names),
        "pairs": [{"treatment": names[treated], "control": names[control]} for treated, control in pairs],
        "slope": test.slope,
        "smallest_effect": _finite(test.smallest),
        "false_alarms": test.false_alarms,
        "placebos": test.placebos,
        "method": "flips of matched pairs, power by placebo in the past",
        "target": target,
        "enough": test.smallest <= abs(target),
        "sentences": [describe_markets(test, target).both(), describe_placebo(test).both()],
    }


def _describe_needed(design: TestDesign) -> Text:
    if design.needed is None or design.needed_at_half is None:
        return say("No number of customers would show it.")
    return say(
        "It needs {customers} customers with this share in control, or {equal} in arms of equal size.",
        customers=f"{design.needed:,}",
        equal=f"{design.needed_at_half:,}",
    )


def _describe_skew(design: TestDesign) -> Text:
    buyers = f"{design.visible.expected_buyers:,.0f}"
    trial = design.trial
    if trial is None:
        return say(
            "Only {buyers} buyers are expected in the smaller arm: the figure is rough.", buyers=buyers
        )
    return say(
        "Only {buyers} buyers are expected in the smaller arm; in {count} tests drawn from the past (simulated) that "
        "effect was seen in {power}, and {alarms} found one where there was none.",
        buyers=buyers,
        count=trial.repetitions,
        power=f"{trial.power:.0%}",
        alarms=f"{trial.false_alarms:.1%}",
    )


def _describe_days(design: TestDesign) -> Text:
    if design.days_needed is None and design.history.days is not None and design.question.per_day == 0:
        return say("No window that the past can show makes the target visible with this audience.")
    if design.days_needed is None:
        return say("The target does not become visible by waiting: more customers must come in.")
    return say("The target becomes visible after {days} days.", days=design.days_needed)


def _describe_looks(design: TestDesign) -> Text:
    rule = design.stopping
    limits = join_list(f"{limit:.2f}" if math.isfinite(limit) else "∞" for limit in rule.limits)
    if len(rule.times) == 1:
        return say("One look, at the end; an effect is shown when |z| is above {limits}.", limits=limits)
    return say(
        "Fixed beforehand: {count} looks after equal shares of the information; stop when |z| is above {limits}. The "
        "error over all looks stays at 5 %; looking costs {cost} of precision.",
        count=len(rule.times),
        limits=limits,
        cost=f"{rule.factor - 1:.1%}",
    )


def _describe_guard(guard: Guard) -> Text:
    values = {"guard": guard.name, "limit": f"{guard.limit:.1%}"}
    if guard.noticed is None:
        return say(
            "Guard {guard}: no worsening can be noticed, so it does not protect ({limit} wanted).", **values
        )
    noticed = f"{guard.noticed:.1%}"
    if guard.enough:
        return say(
            "Guard {guard}: a worsening by {noticed} would be noticed ({limit} wanted).",
            noticed=noticed,
            **values,
        )
    return say(
        "Guard {guard}: only a worsening by {noticed} would be noticed, {limit} would not.",
        noticed=noticed,
        **values,
    )


def _describe_sizing(design: TestDesign, sizing: Sizing, currency: str) -> list[Text]:
    holdout = sizing.holdout
    sources = {
        "given": say("as given"),
        "lessons": say("from past plans"),
        "assumed": say("assumed from the target: nothing was measured yet"),
    }
    basis = say(
        "Effect believed beforehand: profit of {mean} ± {sd} per customer and window ({source}).",
        mean=show_money(sizing.prior.mean, currency),
        sd=show_money(sizing.prior.sd, currency),
        source=sources[sizing.source],
    )
    if holdout.share == 0:
        return [basis, say("A holdout would cost more than its answer is worth: hold nobody out.")]
    return [
        basis,
        say(
            "Over {windows} windows a holdout of {share} earns the most: {gain} more than going by belief alone, and "
            "it costs {cost}.",
            windows=design.question.windows,
            share=f"{holdout.share:.1%}",
            gain=show_money(holdout.gain, currency),
            cost=show_money(holdout.cost, currency),
        ),
    ]


def _summarise_sizing(sizing: Sizing) -> dict[str, Any]:
    holdout = sizing.holdout
    return {
        "share": holdout.share,
        "gain": holdout.gain,
        "cost": holdout.cost,
        "chance_to_go_on": holdout.chance_to_go_on,
        "prior": {"mean": sizing.prior.mean, "sd": sizing.prior.sd, "source": sizing.source},
        "smallest_effect": None if sizing.visible is None else _finite(sizing.visible.smallest),
        "method": "expected value of the decision, normal prior",
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
