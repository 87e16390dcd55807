"""Splink with the settings of its own tutorials, run on the sets for which these were written.

The settings are written down from memory of splink's published demos (quick start on ``fake_1000``, the
deduplication of 50k historical persons, FEBRL 3, the link of FEBRL 4); FEBRL 1 and 2, which have no demo of their own,
take those of FEBRL 3. A demo ends at one threshold; here the best of several is counted, which favours the peer.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

THRESHOLDS = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Demo:
    """One tutorial: what is compared, what is blocked on, and how it is trained."""

    link_type: str
    comparisons: list[Any]
    blocking: list[Any]
    certain: list[Any]
    recall: float
    training: list[Any]
    max_pairs: float


def run_demo(name: str, records: list[pa.Table], threads: int) -> dict[str, list[tuple[str, str]]]:
    """Link or deduplicate as the demo of ``name`` does; the pairs that it joins, per way of ending.

    ``records`` has the columns of the set and ``unique_id``; one table to deduplicate, two to link.
    """
    demo = _DEMOS[name]
    limits: dict[str, str | int | float | list[str]] = {"threads": threads, "memory_limit": "4GB"}
    connection = duckdb.connect(config={**limits, "temp_directory": tempfile.gettempdir()})
    database = DuckDBAPI(connection)
    frames = [
        database.register(table, dataset_display_name=f"t{place}") for place, table in enumerate(records)
    ]
    settings = SettingsCreator(
        link_type=demo.link_type,  # type: ignore[arg-type]
        comparisons=demo.comparisons,
        blocking_rules_to_generate_predictions=demo.blocking,
        retain_intermediate_calculation_columns=False,
    )
    linker = Linker(frames if len(frames) > 1 else frames[0], settings, log_level=40)
    linker.training.estimate_probability_two_random_records_match(demo.certain, recall=demo.recall)
    linker.training.estimate_u_using_random_sampling(max_pairs=demo.max_pairs, seed=1)
    for rule in demo.training:
        linker.training.estimate_parameters_using_expectation_maximisation(rule)
    predicted = linker.inference.predict(threshold_match_probability=0.2)
    endings = {}
    for threshold in THRESHOLDS:
        endings[f"pairs ≥ {threshold}"] = _list_pairs(
            connection,
            f"SELECT unique_id_l AS a, unique_id_r AS b FROM {predicted.physical_name} "
            f"WHERE match_probability >= {threshold}",
        )
        clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(
            predicted, threshold_match_probability=threshold
        )
        across = "AND l.source_dataset <> r.source_dataset" if len(records) > 1 else ""
        endings[f"clusters ≥ {threshold}"] = _list_pairs(
            connection,
            f"SELECT l.unique_id AS a, r.unique_id AS b FROM {clusters.physical_name} AS l "
            f"JOIN {clusters.physical_name} AS r ON l.cluster_id = r.cluster_id "
            f"AND l.unique_id < r.unique_id {across}",
        )
    connection.close()
    return endings


def _list_pairs(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[str, str]]:
    return [(str(row[0]), str(row[1])) for row in connection.sql(sql).fetchall()]


_FEBRL_COMPARISONS = [
    cl.NameComparison("given_name"),
    cl.NameComparison("surname"),
    cl.DateOfBirthComparison(
        "date_of_birth",
        input_is_string=True,
        datetime_format="%Y%m%d",
        invalid_dates_as_null=True,
    ),
    cl.DamerauLevenshteinAtThresholds("soc_sec_id", [1, 2]),
    cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
    cl.DamerauLevenshteinAtThresholds("postcode", [1, 2]).configure(term_frequency_adjustments=True),
]
_FEBRL_CERTAIN = [
    block_on("soc_sec_id"),
    block_on("given_name", "surname", "date_of_birth"),
    "l.given_name = r.surname and l.surname = r.given_name and l.date_of_birth = r.date_of_birth",
]
_FEBRL = Demo(
    "dedupe_only",
    _FEBRL_COMPARISONS,
    [
        block_on("soc_sec_id"),
        block_on("given_name"),
        block_on("surname"),
        block_on("date_of_birth"),
        block_on("postcode"),
    ],
    _FEBRL_CERTAIN,
    0.9,
    [block_on("date_of_birth"), block_on("postcode")],
    1e6,
)
_FEBRL_LINK = Demo(
    "link_only",
    _FEBRL_COMPARISONS,
    [
        block_on("given_name", "surname"),
        "l.given_name = r.surname and l.surname = r.given_name",
        block_on("date_of_birth"),
        block_on("soc_sec_id"),
        block_on("state", "address_1"),
        block_on("street_number", "address_1"),
        block_on("postcode"),
    ],
    _FEBRL_CERTAIN,
    0.9,
    [block_on("date_of_birth"), block_on("postcode")],
    1e6,
)
_HISTORICAL = Demo(
    "dedupe_only",
    [
        cl.ForenameSurnameComparison(
            "first_name", "surname", forename_surname_concat_col_name="first_name_surname_concat"
        ),
        cl.DateOfBirthComparison("dob", input_is_string=True),
        cl.PostcodeComparison("postcode_fake"),
        cl.ExactMatch("birth_place").configure(term_frequency_adjustments=True),
        cl.ExactMatch("occupation").configure(term_frequency_adjustments=True),
    ],
    [
        block_on("substr(first_name,1,3)", "substr(surname,1,4)"),
        block_on("surname", "dob"),
        block_on("first_name", "dob"),
        block_on("postcode_fake", "first_name"),
        block_on("postcode_fake", "surname"),
        block_on("dob", "birth_place"),
        block_on("substr(postcode_fake,1,3)", "dob"),
        block_on("substr(postcode_fake,1,3)", "first_name"),
        block_on("substr(postcode_fake,1,3)", "surname"),
        block_on("substr(first_name,1,2)", "substr(surname,1,2)", "substr(dob,1,4)"),
    ],
    [
        "l.first_name = r.first_name and l.surname = r.surname and l.dob = r.dob",
        "substr(l.first_name,1,2) = substr(r.first_name,1,2) and l.surname = r.surname "
        "and substr(l.postcode_fake,1,2) = substr(r.postcode_fake,1,2)",
        "l.dob = r.dob and l.postcode_fake = r.postcode_fake",
    ],
    0.6,
    [block_on("first_name", "surname"), block_on("dob")],
    5e6,
)
_FAKE = Demo(
    "dedupe_only",
    [
        cl.NameComparison("first_name"),
        cl.NameComparison("surname"),
        cl.DateOfBirthComparison("dob", input_is_string=True),
        cl.ExactMatch("city").configure(term_frequency_adjustments=True),
        cl.EmailComparison("email"),
    ],
    [block_on("first_name", "city"), block_on("surname")],
    [
        block_on("first_name", "dob"),
        "l.first_name = r.first_name and levenshtein(r.surname, l.surname) <= 2",
        block_on("email"),
    ],
    0.7,
    [block_on("first_name", "surname"), block_on("dob")],
    1e6,
)
_DEMOS = {
    "fake_1000": _FAKE,
    "febrl1": _FEBRL,
    "febrl2": _FEBRL,
    "febrl3": _FEBRL,
    "febrl4": _FEBRL_LINK,
    "historical_50k": _HISTORICAL,
}
