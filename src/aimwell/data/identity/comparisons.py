"""How two records are compared, per kind of attribute, as splink's comparisons with levels from alike to unlike.

Every level says in words what it means, so that a link can be explained. Columns are those of
``features.FEATURES``. Reads and writes nothing itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aimwell.core.text import Text, say

# ``likeness`` and ``slips`` are named by ``backend``: Jaro-Winkler, and the edit distance of Damerau and Levenshtein.
# The cheap measure goes first: an edit distance costs up to sixty times as much.
_TYPO = (
    "CASE WHEN likeness({name}_l, {name}_r) >= 0.75"
    " THEN slips({name}_l, {name}_r) <= {distance} ELSE false END"
)
_ALIKE = "likeness({name}_l, {name}_r) >= {least}"


@dataclass(frozen=True)
class Level:
    """One degree of likeness: its condition, its words, and the column whose rare values weigh more."""

    condition: str
    words: Text
    frequency_of: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What is compared under one name, from the most alike to the least; a last level catches the rest.

    ``missing`` is the condition under which nothing can be said; ``needs`` lists columns that must be there.
    """

    name: str
    needs: tuple[str, ...]
    missing: str
    levels: tuple[Level, ...]

    @property
    def uses(self) -> frozenset[str]:
        """Every column of the features that its conditions name."""
        text = " ".join([self.missing, *(level.condition for level in self.levels)])
        return frozenset(re.findall(r"(\w+)_[lr]\b", text))

    def to_splink(self) -> dict[str, Any]:
        """As the dictionary that splink's settings take."""
        levels: list[dict[str, Any]] = [
            {"sql_condition": self.missing, "label_for_charts": "missing", "is_null_level": True}
        ]
        for level in self.levels:
            entry: dict[str, Any] = {"sql_condition": level.condition, "label_for_charts": level.words.id}
            levels.append(entry)
        levels.append({"sql_condition": "ELSE", "label_for_charts": "different"})
        return {"output_column_name": self.name, "comparison_levels": levels}


def _either_missing(*names: str) -> str:
    return " AND ".join(f"({name}_l IS NULL OR {name}_r IS NULL)" for name in names)


def _same(*names: str) -> str:
    return " AND ".join(f"{name}_l = {name}_r" for name in names)


def _typo(name: str, distance: int) -> str:
    return _TYPO.format(name=name, distance=distance)


def _alike(name: str, least: float) -> str:
    return _ALIKE.format(name=name, least=least)


_SWAPPED = "given_l = family_r AND family_l = given_r"
_SHORT = (
    "(length(given_l) >= 3 AND left(given_r, length(given_l)) = given_l"
    " OR length(given_r) >= 3 AND left(given_l, length(given_r)) = given_r)"
)

GIVEN = Comparison(
    "given_name",
    ("given",),
    _either_missing("given"),
    (
        Level(_same("given"), say("the same given name"), "given"),
        Level(_SWAPPED, say("given and family name are swapped")),
        Level(_same("given_root"), say("the given name in its short or another spelling"), "given_root"),
        Level(
            f"{_typo('given', 1)} OR {_alike('given', 0.92)}", say("the given name up to a slip of the pen")
        ),
        Level(f"{_SHORT} OR {_alike('given', 0.86)}", say("given names that are alike")),
    ),
)
FAMILY = Comparison(
    "family_name",
    ("family",),
    _either_missing("family"),
    (
        Level(_same("family"), say("the same family name"), "family"),
        Level(_SWAPPED, say("given and family name are swapped")),
        Level(_same("family_root"), say("the family name in another spelling"), "family_root"),
        Level(
            f"{_typo('family', 1)} OR {_alike('family', 0.92)}",
            say("the family name up to a slip of the pen"),
        ),
        Level(_alike("family", 0.86), say("family names that are alike")),
    ),
)
BIRTH = Comparison(
    "birth_date",
    ("birth_date",),
    _either_missing("birth_date"),
    (
        Level(_same("birth_date"), say("the same birth date"), "birth_date"),
        Level(_typo("birth_date", 1), say("the birth date up to one digit")),
        Level(_typo("birth_date", 2), say("the birth date up to two digits")),
        Level("left(birth_date_l, 4) = left(birth_date_r, 4)", say("the same year of birth")),
    ),
)
PLACE = Comparison(
    "place",
    ("postcode", "city"),
    _either_missing("postcode", "city"),
    (
        Level(_same("postcode", "city"), say("the same postcode and town"), "postcode"),
        Level(_same("postcode"), say("the same postcode"), "postcode"),
        Level(_typo("postcode", 1), say("the postcode up to one sign")),
        Level(_same("area", "city"), say("the same town and postal area"), "city"),
        Level(_same("area"), say("the same postal area")),
        Level(_same("city"), say("the same town"), "city"),
        Level(_alike("city", 0.9), say("towns spelled alike")),
    ),
)
STREET = Comparison(
    "street",
    ("street",),
    _either_missing("street"),
    (
        Level(_same("street"), say("the same address"), "street"),
        Level(_alike("street", 0.94), say("the address up to a slip of the pen")),
        Level(_alike("street", 0.85), say("addresses that are alike")),
    ),
)
NUMBER = Comparison(
    "id_number",
    ("id_number",),
    _either_missing("id_number"),
    (
        Level(_same("id_number"), say("the same ID number")),
        Level(_typo("id_number", 1), say("the ID number up to one digit")),
        Level(_typo("id_number", 2), say("the ID number up to two digits")),
    ),
)
PHONE = Comparison(
    "phone",
    ("phone",),
    _either_missing("phone"),
    (
        Level(_same("phone"), say("the same phone number")),
        Level(_typo("phone", 1), say("the phone number up to one digit")),
    ),
)
EMAIL = Comparison(
    "email",
    ("email",),
    _either_missing("email"),
    (
        Level(_same("email"), say("the same e-mail address")),
        Level(_same("mailbox"), say("the same name before the @")),
        Level(
            f"{_typo('email', 1)} OR {_alike('email', 0.95)}",
            say("the e-mail address up to a slip of the pen"),
        ),
    ),
)
COMPARISONS = (GIVEN, FAMILY, BIRTH, PLACE, STREET, NUMBER, PHONE, EMAIL)


def compare_other(name: str) -> Comparison:
    """A comparison for an attribute of unknown meaning: the same value, or not."""
    return Comparison(
        name,
        (name,),
        _either_missing(name),
        (Level(_same(name), say("the same value of another attribute"), name),),
    )


def choose_comparisons(columns: frozenset[str]) -> list[Comparison]:
    """The comparisons for which there is at least one column, those of other attributes included."""
    chosen = [comparison for comparison in COMPARISONS if columns & set(comparison.needs)]
    return chosen + [compare_other(name) for name in sorted(columns) if name.startswith("other_")]
