"""What the values of a column look like: the second witness, beside the header, of what a column means.

Reads the staged table ``raw`` (its first rows); writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aimwell.data.expressions import clean, parse_boolean, parse_instant, parse_number, parse_offset
from aimwell.data.scratch import Scratch
from aimwell.data.synonyms import Kind

_SAMPLE = 5_000
_TESTED = 500
_FEW = 12


@dataclass(frozen=True)
class Profile:
    """Shares are of the filled rows among the first 5,000 whose value is one of the 500 most frequent.

    ``digits`` is the share made of digits only.
    """

    column: str
    rows: int
    distinct: int
    dates: float
    numbers: float
    clocks: float
    booleans: float
    digits: float
    emails: float
    phones: float
    examples: tuple[str, ...]
    values: tuple[str, ...] = ()
    """All values of the sample, where they are few."""

    @property
    def unique(self) -> bool:
        """Whether (nearly) every row has a value of its own."""
        return self.rows > 1 and self.distinct >= 0.99 * self.rows

    def fits(self, kind: Kind) -> float:
        """The share of values that are of ``kind``; 1 where any text will do."""
        if self.distinct == 0:
            return 0.0
        shares = {
            Kind.INSTANT: self.dates,
            Kind.NUMBER: self.numbers,
            Kind.CLOCK: self.clocks,
            Kind.BOOLEAN: self.booleans,
            Kind.EMAIL: self.emails,
            Kind.PHONE: self.phones,
        }
        return shares.get(kind, 1.0)


def profile_columns(scratch: Scratch, columns: tuple[str, ...]) -> dict[str, Profile]:
    """A profile of each column of ``raw``."""
    profiles = {column: _profile(scratch, f"c{position}", column) for position, column in enumerate(columns)}
    for position, (column, profile) in enumerate(profiles.items()):
        if profile.unique and profile.rows >= _SAMPLE:
            profiles[column] = _check_unique(scratch, f"c{position}", profile)
    return profiles


def _check_unique(scratch: Scratch, staged: str, profile: Profile) -> Profile:
    """Files are often sorted: what is unique at their beginning need not be so in all that was staged."""
    found = scratch.rows(f"SELECT count({staged}) AS rows, count(DISTINCT {staged}) AS distinct FROM raw")[0]
    unique = found["distinct"] >= 0.99 * found["rows"]
    return (
        profile
        if unique
        else replace(profile, distinct=int(profile.rows * found["distinct"] / found["rows"]))
    )


def _profile(scratch: Scratch, staged: str, column: str) -> Profile:
    facts = scratch.rows(
        rf"""
        WITH sample AS (SELECT {clean(staged)} AS text FROM raw LIMIT {_SAMPLE}),
        counted AS (SELECT text, count(*) AS weight FROM sample GROUP BY text),
        totals AS (SELECT coalesce(sum(weight), 0) AS rows, count(text) AS distinct FROM counted),
        shown AS (SELECT text, weight FROM counted WHERE text IS NOT NULL ORDER BY weight DESC, text LIMIT {_TESTED}),
        tested AS (
            SELECT text, weight,
                CASE WHEN NOT regexp_matches(text, '\d') THEN false
                ELSE coalesce({parse_instant("text")}, {parse_instant("text", day_first=True)}) IS NOT NULL
                    OR {parse_offset("text")} IS NOT NULL END AS is_date,
                {parse_number("text")} IS NOT NULL
                    OR {parse_number("text", decimal_comma=True)} IS NOT NULL AS is_number,
                regexp_full_match(text, '\d{{1,2}}:\d{{2}}(:\d{{2}})?') AS is_clock,
                {parse_boolean("text")} IS NOT NULL AS is_boolean,
                regexp_full_match(text, '\d+') AS is_digits,
                regexp_full_match(text, '[^@\s]+@[^@\s]+\.[^@\s]+') AS is_email,
                regexp_full_match(text, '[+(]?\d[\d\s()*-]{{5,19}}') AS is_phone
            FROM shown
        )
        SELECT CAST(any_value(totals.rows) AS BIGINT) AS rows, any_value(totals.distinct) AS distinct,
            {_share("is_date")} AS dates, {_share("is_number")} AS numbers, {_share("is_clock")} AS clocks,
            {_share("is_boolean")} AS booleans, {_share("is_digits")} AS digits, {_share("is_email")} AS emails,
            {_share("is_phone")} AS phones,
            CASE WHEN any_value(totals.distinct) <= {_FEW} THEN string_agg(text, chr(31) ORDER BY text) END AS packed
        FROM totals LEFT JOIN tested ON true
        """
    )[0]
    packed = facts.pop("packed")
    examples = scratch.rows(f"SELECT {clean(staged)} AS text FROM raw LIMIT 3")
    return Profile(
        column=column,
        examples=tuple(row["text"] for row in examples if row["text"]),
        values=tuple(packed.split("\x1f")) if packed else (),
        **facts,
    )


def _share(condition: str) -> str:
    met = f"sum(CASE WHEN {condition} THEN weight ELSE 0 END)"
    return f"coalesce(CAST({met} AS DOUBLE) / CAST(sum(weight) AS DOUBLE), 0.0)"
