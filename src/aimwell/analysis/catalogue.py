"""The catalogue of built-in tags, in the order of the columns of ``tags``. It reads no table and writes none."""

from __future__ import annotations

from aimwell.analysis.contact_tags import EVENT_TAGS, KNOWN_TAGS
from aimwell.analysis.lifecycle import LIFECYCLE_TAG
from aimwell.analysis.preference_tags import PREFERENCE_TAGS
from aimwell.analysis.purchase_tags import PURCHASE_TAGS
from aimwell.analysis.rfm import RFM_TAGS
from aimwell.analysis.tag import Tag
from aimwell.analysis.value import VALUE_TAGS

STANDING_TAGS: tuple[Tag, ...] = (*RFM_TAGS, *VALUE_TAGS, LIFECYCLE_TAG)
"""Tags that compare a customer with all others, or with the usual rhythm."""
MEASURED_TAGS: tuple[Tag, ...] = (*PURCHASE_TAGS, *PREFERENCE_TAGS, *EVENT_TAGS)
"""Tags that the compiler measures on order_lines and events."""
CATALOGUE: tuple[Tag, ...] = (*MEASURED_TAGS, *STANDING_TAGS, *KNOWN_TAGS)
"""All built-in tags; each delivered attribute adds one (``contact_tags.define_attributes``)."""
