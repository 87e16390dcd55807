"""What people call the values of those tags whose values are names in code. It reads no table and writes none."""

from __future__ import annotations

from collections.abc import Mapping

from aimwell.analysis.lifecycle import STAGES
from aimwell.analysis.value import TIERS
from aimwell.core.text import Text, say

VALUE_TITLES: Mapping[str, Mapping[str, Text]] = {
    "lifecycle_stage": STAGES,
    "value_tier": TIERS,
    "sex": {"female": say("female"), "male": say("male")},
    "age_band": {
        "under_18": say("under 18 years"),
        "18_24": say("{low} to {high} years", low=18, high=24),
        "25_34": say("{low} to {high} years", low=25, high=34),
        "35_44": say("{low} to {high} years", low=35, high=44),
        "45_54": say("{low} to {high} years", low=45, high=54),
        "55_64": say("{low} to {high} years", low=55, high=64),
        "65_and_over": say("65 years and over"),
    },
    "churn_tendency": {
        "high": say("high tendency"),
        "medium": say("medium tendency"),
        "low": say("low tendency"),
    },
    "discount_affinity": {
        "hunter": say("discount hunter"),
        "mixed": say("with and without discount"),
        "full_price": say("at full price"),
    },
    "loyalty_level": {
        "devoted": say("devoted customer"),
        "regular": say("regular customer"),
        "occasional": say("occasional customer"),
        "single": say("bought once"),
    },
    "nps_class": {
        "promoter": say("promoter"),
        "passive": say("passive"),
        "detractor": say("detractor"),
    },
}
"""Tag → value → its name for people."""
