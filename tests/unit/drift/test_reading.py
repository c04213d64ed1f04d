"""Rules of the drift reading: what it counts, what it ignores, and what it calls each kind of broken column."""

import dataclasses
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.drift.profile import build_profiles, windows_of
from mlops_assets.drift.reading import measure_distribution, measure_drift
from mlops_assets.drift.reference import ReferenceProfile, build_reference
from mlops_assets.errors import ContractBroken, NothingToLearnFrom
from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView, Role
from mlops_assets.products.periods import hours
from mlops_assets.records.readings import DriftReading, DriftState, FeatureReading

ORIGIN = Feature("origin", kind=FeatureKind.CATEGORICAL)
SEATS = Feature("seats")
WEATHER = FeatureView(
    "weather", (Feature("temperature", role=Role.SEASONAL),), ("airport",), lambda tables: tables["weather"], hours(6)
)
WINDOWS = 10


def of_origins(**rows: int) -> pl.DataFrame:
    """`of_origins(EWR=2)` is a window with two rows EWR; `null` stands for null."""
    names = [None if name == "null" else name for name, count in rows.items() for _ in range(count)]
    return pl.DataFrame({"origin": names}, schema={"origin": pl.String})


def of_seats(values: object) -> pl.DataFrame:
    return pl.DataFrame({"seats": values}, schema={"seats": pl.Float64}, strict=False)


def a_reference(*windows: pl.DataFrame, inputs: tuple[Feature, ...] = (ORIGIN,)) -> ReferenceProfile:
    keys = pl.Series([f"week {number:02}" for number, window in enumerate(windows) for _ in range(window.height)])
    return build_reference(pl.concat(windows), inputs, keys)


def steady(window: pl.DataFrame, feature: Feature = ORIGIN) -> ReferenceProfile:
    """A reference whose windows are all alike, so that it has no natural variance."""
    return a_reference(*[window] * WINDOWS, inputs=(feature,))


def read(reference: ReferenceProfile, current: pl.DataFrame) -> DriftReading:
    return measure_drift(reference, current, min_rows=1)


def read_one(reference: ReferenceProfile, current: pl.DataFrame) -> FeatureReading:
    return read(reference, current).features[0]


def test_six_percent_of_the_rows_in_an_unseen_category_read_six_with_their_sampling_interval():
    reference = steady(of_origins(EWR=500, JFK=500))

    reading = read(reference, of_origins(EWR=880, JFK=1000, SWF=120))

    # share 0.06; Agresti-Coull p = 122/2004, standard error sqrt(p(1-p)/2004) = 0.00534, times 1.96 = 1.05 points
    assert reading.state is DriftState.CONCLUSIVE
    assert reading.percent == pytest.approx(6.0)
    assert (reading.low, reading.high) == (pytest.approx(4.95, abs=0.01), pytest.approx(7.05, abs=0.01))
    assert reading.feature == "origin"
    assert reading.reason == "6.0 % of rows moved in origin (5.0 to 7.0)"


def test_the_smallest_detectable_shift_follows_from_the_rows_of_both_windows():
    reference = steady(of_origins(EWR=500, JFK=500))

    reading = read_one(reference, of_origins(EWR=1000, JFK=1000))

    # 5 bins, one feature: normal quantile at 1 - 0.01/10 is 3.090; sqrt(0.25 (1/10000 + 1/2000)) = 0.01225
    assert reading.percent == 0
    assert reading.smallest_detectable == pytest.approx(3.78, abs=0.01)
    assert (reading.low, reading.high) == (0, reading.smallest_detectable)


def test_what_the_windows_of_the_reference_do_by_themselves_is_not_drift():
    restless = a_reference(*[of_origins(EWR=400, JFK=600), of_origins(EWR=600, JFK=400)] * 5)
    current = of_origins(EWR=1180, JFK=820)  # 9 points more EWR than the mean of the reference

    assert read_one(restless, current).percent == 0
    assert read_one(steady(of_origins(EWR=500, JFK=500)), current).percent == pytest.approx(9.0)


def test_a_feature_that_cannot_see_five_percent_is_blind_and_does_not_act():
    restless = a_reference(*[of_origins(EWR=400, JFK=600), of_origins(EWR=600, JFK=400)] * 5)

    reading = read(restless, of_origins(EWR=1000, JFK=1000))

    assert not reading.features[0].is_actionable
    assert reading.features[0].note.startswith("blind below")
    assert reading.state is DriftState.INCONCLUSIVE
    assert reading.percent is None
    assert "no feature can trigger an action" in reading.reason


def test_a_blind_feature_still_acts_when_its_values_turn_null():
    restless = a_reference(*[of_origins(EWR=400, JFK=600), of_origins(EWR=600, JFK=400)] * 5)

    reading = read(restless, of_origins(EWR=700, JFK=700, null=600))

    assert reading.percent == pytest.approx(30.0)
    assert "except for nulls and values new to it" in reading.features[0].note


@pytest.mark.parametrize(
    ("values", "percent"),
    [
        ([101.0] * 160, 8.0),  # above every value of the reference
        ([-1.0] * 160, 8.0),  # below
        ([math.inf] * 160, 8.0),
        ([-math.inf] * 160, 8.0),
        ([None] * 160, 8.0),
        ([math.nan] * 160, 8.0),
    ],
)
def test_numbers_beyond_the_reference_infinite_ones_and_nulls_have_bins_of_their_own(values, percent):
    reference = steady(of_seats([float(seat) for seat in range(100)] * 20), SEATS)
    usual = [float(seat) for seat in range(100)] * 20

    reading = read_one(reference, of_seats(usual[: 2000 - len(values)] + values))

    assert reading.percent == pytest.approx(percent)


def test_a_value_with_a_tenth_of_the_rows_has_a_bin_of_its_own():
    usual = [float(seat) for seat in range(90) for _ in range(20)]
    reference = steady(of_seats([200.0] * 200 + usual), SEATS)

    reading = read_one(reference, of_seats([200.0] * 380 + usual[::10] * 9))

    assert 200.0 in reference.features[0].spikes
    assert reading.percent == pytest.approx(9.0)  # from 10 % to 19 %


def test_rare_categories_are_pooled_and_known_from_unseen_ones():
    window = of_origins(EWR=1500, JFK=492, LGA=4, SWF=4)  # 0.5 % is 10 rows

    profile = steady(window).features[0]

    assert profile.categories == ("EWR", "JFK")
    assert profile.rare == ("LGA", "SWF")
    assert read_one(steady(window), of_origins(EWR=1500, JFK=492, SWF=8)).percent == 0


def test_a_category_that_vanishes_reads_the_share_it_had():
    reference = steady(of_origins(EWR=800, JFK=120, LGA=80))

    reading = read_one(reference, of_origins(EWR=1760, JFK=240))

    assert reading.percent == pytest.approx(8.0)  # all of it went to EWR


def test_calendar_and_seasonal_features_are_shown_and_do_not_act():
    month = Feature("month", kind=FeatureKind.CATEGORICAL, role=Role.CALENDAR)
    window = of_origins(EWR=1000, JFK=1000)
    reference = a_reference(*[window.with_columns(month=pl.lit("June"))] * WINDOWS, inputs=(ORIGIN, month))

    reading = read(reference, window.with_columns(month=pl.lit("July")))

    assert reading.percent == 0
    assert reading.features[1].percent == 100
    assert not reading.features[1].is_actionable
    assert "calendar: shown, not acted on" in reading.features[1].note


def test_features_the_champion_hardly_uses_are_shown_and_do_not_act():
    reference = a_reference(
        *[of_origins(EWR=1000, JFK=1000).with_columns(seats=pl.lit(50.0))] * WINDOWS, inputs=(ORIGIN, SEATS)
    )
    current = of_origins(EWR=2000).with_columns(seats=pl.lit(50.0))

    reading = measure_drift(reference, current, min_rows=1, unused={"origin"})

    assert reading.percent == 0
    assert reading.features[0].percent == pytest.approx(50)
    assert (
        reading.features[0].note == "constant in the current window; hardly used by the champion: shown, not acted on"
    )
    # the reason does not contradict the table, in which origin moved
    assert reading.reason == (
        "no feature that triggers an action moved; 50.0 % of rows moved in origin "
        "(constant in the current window; hardly used by the champion: shown, not acted on)"
    )


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    ("broken", "note"),
    [
        (pl.DataFrame({"other": [1.0] * 2000}), "column is missing"),
        (pl.DataFrame({"seats": ["fifty"] * 2000}), "column changed type: expected numeric, found String"),
        (of_seats([None] * 2000), "null throughout the current window"),
        (of_seats([math.nan] * 2000), "null throughout the current window"),
        (pl.DataFrame({"seats": [None] * 2000}), "null throughout the current window"),
    ],
)
def test_a_column_that_is_gone_reads_a_hundred_percent_and_acts_in_every_role(role, broken, note):
    seats = Feature("seats", role=role)
    reference = steady(of_seats([float(seat) for seat in range(100)] * 20), seats)

    reading = read(reference, broken)

    assert (reading.percent, reading.feature) == (100, "seats")
    assert reading.features[0].note == note


def test_a_category_that_became_a_number_has_changed_type():
    reading = read_one(steady(of_origins(EWR=1000)), pl.DataFrame({"origin": [1, 2, 3]}))

    assert (reading.percent, reading.note) == (100, "column changed type: expected categorical, found Int64")


def test_numbers_of_another_width_have_not_changed_type():
    reference = steady(of_seats([50.0, 100.0] * 1000), SEATS)

    reading = read_one(reference, pl.DataFrame({"seats": [50, 100] * 1000}, schema={"seats": pl.Int32}))

    assert reading.percent == 0


def test_a_constant_column_that_stays_constant_has_not_moved():
    reading = read_one(steady(of_seats([50.0] * 2000), SEATS), of_seats([50.0] * 2000))

    assert (reading.percent, reading.note) == (0, "constant in the reference")


def test_a_constant_column_that_takes_another_value_has_moved_entirely():
    assert read_one(steady(of_seats([50.0] * 2000), SEATS), of_seats([51.0] * 2000)).percent == 100


def test_values_that_arrive_in_a_column_that_was_always_null_have_moved_entirely():
    reading = read_one(steady(of_seats([None] * 2000), SEATS), of_seats([51.0] * 2000))

    assert reading.percent == 100
    assert "null throughout the reference" in reading.note


@pytest.mark.parametrize(("rows", "state"), [(999, DriftState.INCONCLUSIVE), (1000, DriftState.CONCLUSIVE)])
def test_fewer_rows_than_the_policy_asks_for_are_inconclusive(rows, state):
    reading = measure_drift(steady(of_seats([50.0] * 2000), SEATS), of_seats([50.0] * rows), min_rows=1000)

    assert reading.state is state
    if state is DriftState.INCONCLUSIVE:
        assert (reading.percent, reading.reason) == (
            None,
            "999 rows, the policy asks for 1000: a period has to be 2 times as long, or min_rows lower",
        )


def test_no_rows_are_inconclusive_whatever_the_policy_says():
    reading = measure_drift(steady(of_seats([50.0] * 2000), SEATS), of_seats([]), min_rows=0)

    assert reading.state is DriftState.INCONCLUSIVE


def test_one_row_of_a_known_kind_reads_nothing_and_one_of_an_unknown_kind_says_how_unsure_it_is():
    reference = steady(of_origins(EWR=500, JFK=500))

    known, unknown = read_one(reference, of_origins(EWR=1)), read_one(reference, of_origins(SWF=1))

    assert known.percent == 0
    assert (unknown.percent, unknown.low < 60) == (100, True)


def test_a_reference_of_one_window_is_inconclusive_because_its_natural_variation_is_unknown():
    reading = read(a_reference(of_origins(EWR=500, JFK=500)), of_origins(EWR=2000))

    assert reading.state is DriftState.INCONCLUSIVE
    assert "single window" in reading.reason


def test_a_category_that_one_reference_window_had_alone_does_not_count_when_another_one_appears():
    usual = of_origins(EWR=1000, JFK=1000)
    reference = a_reference(*[usual] * 9, of_origins(EWR=980, JFK=980, SWF=40))

    reading = read_one(reference, of_origins(EWR=980, JFK=980, LGA=40))

    assert reading.percent == 0


def a_week_of_weather(level: float, rows: int = 2_000, seed: int = 0) -> pl.DataFrame:
    """Rows of two airports, ten an hour each, whose temperature wanders around `level` and is shared within an hour."""
    draw = np.random.default_rng(seed)
    hour = np.arange(rows) // 20
    steps = level + np.cumsum(draw.normal(0, 0.2, (hour.max() + 1, 2)), axis=0)
    airport = np.arange(rows) % 2
    columns = {"at": np.arange(rows), "airport": airport.astype(str), "temperature": steps[hour, airport]}
    return pl.DataFrame(columns, schema_overrides={"airport": pl.String})


def a_winter(role: Role = Role.SEASONAL, levels: Sequence[int] = range(-50, 50, 10)) -> ReferenceProfile:
    """Weeks whose temperatures lie far apart: the values say nothing, the steps from row to row do."""
    view = dataclasses.replace(WEATHER, features=(Feature("temperature", role=role),))
    weeks = [a_week_of_weather(level, seed=number) for number, level in enumerate(levels)]
    keys = pl.Series(np.repeat(np.arange(len(weeks)), 2_000)).cast(pl.String)
    return build_reference(pl.concat(weeks), view.features, keys, lookups=(view,), order=("at",))


def with_strangers(week: pl.DataFrame, percent: float, seed: int = 1) -> pl.DataFrame:
    """The week with the temperature of `percent` of its rows drawn from what is usual, though not there and then."""
    draw = np.random.default_rng(seed)
    is_hit = draw.permutation(week.height) < week.height * percent / 100
    strange = pl.Series(np.where(is_hit, draw.uniform(-50, 50, week.height), week["temperature"]))
    return week.with_columns(temperature=strange)


@pytest.mark.parametrize("role", [Role.INPUT, Role.SEASONAL])
@pytest.mark.parametrize("percent", [8.0, 20.0])
def test_usual_values_in_the_wrong_rows_are_seen_in_the_changes_from_row_to_row(role, percent):
    reading = read(a_winter(role), with_strangers(a_week_of_weather(0.0, seed=99), percent))

    (temperature,) = reading.features
    assert (temperature.read_in, temperature.is_actionable, reading.feature) == ("changes", True, "temperature")
    assert reading.percent == pytest.approx(percent, abs=1.5)
    assert "rows changed unusually from the row before in temperature" in reading.reason
    assert temperature.values_percent == 0  # a blind feature sees nothing in its values


def test_a_season_moves_the_values_and_not_the_changes():
    a_mild_winter = a_winter(levels=[0, 5] * 5)

    (temperature,) = read(a_mild_winter, a_week_of_weather(80.0, seed=99)).features

    assert temperature.values_percent == pytest.approx(100)
    assert (temperature.percent, temperature.is_actionable) == (0, True)
    assert temperature.note.startswith("seasonal: shown, not acted on except nulls and changes from row to row, from")


def test_a_column_that_cannot_be_followed_is_read_in_its_values_alone():
    week = a_week_of_weather(0.0, seed=99).drop("airport")

    (temperature,) = read(a_winter(Role.INPUT), week).features

    assert (temperature.read_in, temperature.is_actionable) == ("values", False)
    assert temperature.note.startswith("blind below")


def test_nulls_act_in_every_role_but_in_features_the_champion_hardly_uses():
    reference = steady(of_seats([float(seat) for seat in range(100)] * 20), Feature("seats", role=Role.SEASONAL))
    current = of_seats([float(seat) for seat in range(100)] * 18 + [None] * 200)

    acted = read_one(reference, current)
    unused = measure_drift(reference, current, min_rows=1, unused={"seats"}).features[0]

    assert (acted.percent, acted.is_actionable) == (pytest.approx(10), True)
    assert not unused.is_actionable


def test_a_seasonal_feature_is_read_against_the_same_season_where_there_is_one():
    seasonal = Feature("seats", role=Role.SEASONAL)
    summer, winter = (
        of_seats([float(seat) for seat in range(100)] * 20),
        of_seats([float(seat) for seat in range(500, 600)] * 20),
    )
    last_winter = steady(winter, Feature("seats", role=Role.INPUT))

    without = read_one(steady(summer, seasonal), winter)
    reading = measure_drift(steady(summer, seasonal), winter, min_rows=1, season=last_winter).features[0]
    broken = measure_drift(steady(summer, seasonal), summer, min_rows=1, season=last_winter).features[0]

    assert (without.values_percent, without.is_actionable) == (100, False)
    assert (reading.percent, reading.is_actionable) == (0, True)
    assert (broken.percent, broken.is_actionable) == (100, True)
    assert reading.note == "against the same season a year before"


def test_scores_and_labels_are_read_in_the_same_percent_and_do_not_act():
    scores = pl.DataFrame({"prediction": [row / 100 for row in range(100)] * 20})
    keys = pl.Series([str(row // 200) for row in range(2_000)])
    (profile,) = build_profiles(windows_of(scores, keys), [Feature("prediction")])
    moved = scores.with_columns(
        pl.when(pl.int_range(pl.len()) < 160).then(2.0).otherwise("prediction").alias("prediction")
    )

    reading = measure_distribution(profile, moved, min_rows=1_000)

    assert (reading.percent, reading.is_actionable) == (pytest.approx(8), False)
    assert measure_distribution(profile, scores, min_rows=1_000).percent == 0
    assert measure_distribution(profile, scores.head(999), min_rows=1_000) is None


def test_rows_are_counted_in_a_stream_as_they_are_at_once(tmp_path):
    draw = np.random.default_rng(5)
    weeks = [of_seats(draw.normal(150, 40, 3_000)) for _ in range(WINDOWS + 1)]
    weeks[-1].write_parquet(tmp_path / "week.parquet")
    reference = a_reference(*weeks[:-1], inputs=(SEATS,))

    streamed = measure_drift(reference, pl.scan_parquet(tmp_path / "week.parquet"), min_rows=1)

    assert streamed == read(reference, weeks[-1])


def test_a_profile_survives_being_stored_as_json():
    usual = of_origins(EWR=60, JFK=40).with_columns(seats=pl.Series([*range(99), None], dtype=pl.Float64))
    profile = a_reference(usual, usual, inputs=(ORIGIN, SEATS))

    assert msgspec.json.decode(msgspec.json.encode(profile), type=ReferenceProfile) == profile


def test_a_reading_survives_being_stored_as_json():
    reading = read(steady(of_origins(EWR=500, JFK=500)), of_origins(EWR=880, JFK=1000, SWF=120))

    assert msgspec.json.decode(msgspec.json.encode(reading), type=DriftReading) == reading


@pytest.mark.parametrize(
    ("features", "keys", "error"),
    [
        (of_origins(), [], NothingToLearnFrom),
        (of_origins(EWR=2), ["a"], ContractBroken),
        (of_seats([1.0]), ["a"], ContractBroken),
        (pl.DataFrame({"origin": [1]}), ["a"], ContractBroken),
    ],
)
def test_a_reference_cannot_be_built_from_the_wrong_table(features, keys, error):
    with pytest.raises(error):
        build_reference(features, (ORIGIN,), pl.Series(keys, dtype=pl.String))


def test_more_injected_shift_reads_more_and_within_a_point_of_it():
    draw = np.random.default_rng(11)
    reference = a_reference(*[of_seats(draw.normal(150, 40, 5000)) for _ in range(16)], inputs=(SEATS,))

    def mean_reading(percent: float) -> float:
        current = [np.where(draw.random(5000) < percent / 100, 900.0, draw.normal(150, 40, 5000)) for _ in range(20)]
        return float(np.mean([read_one(reference, of_seats(seats)).percent for seats in current]))

    readings = [mean_reading(percent) for percent in (0, 2, 5, 8, 10, 20)]

    assert readings == sorted(readings)
    assert readings == pytest.approx([0, 2, 5, 8, 10, 20], abs=0.5)


windows = st.lists(
    st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.floats(width=32)), min_size=1, max_size=40),
    min_size=2,
    max_size=6,
)


def tables(drawn: list[list[tuple[str, float | None]]]) -> list[pl.DataFrame]:
    schema = {"origin": pl.String, "seats": pl.Float64}
    return [pl.DataFrame(rows, schema=schema, orient="row") for rows in drawn]


@settings(max_examples=60, deadline=None)
@given(windows)
def test_identical_windows_read_zero(drawn):
    reference = a_reference(*tables(drawn), inputs=(ORIGIN, SEATS))

    for current in (pl.concat(tables(drawn)), *tables(drawn)):
        assert [feature.percent for feature in read(reference, current).features] == [0, 0]


@settings(max_examples=60, deadline=None)
@given(windows)
def test_readings_lie_in_their_interval_and_between_0_and_100(drawn):
    *before, current = tables([drawn[0], *drawn])

    for feature in read(a_reference(*before, inputs=(ORIGIN, SEATS)), current).features:
        assert 0 <= feature.low <= feature.percent <= feature.high <= 100
        assert 0 <= feature.smallest_detectable <= 100


@settings(max_examples=60, deadline=None)
@given(windows, st.permutations("abcde"), st.integers(0, 99))
def test_permuting_rows_and_renaming_categories_change_nothing(drawn, names, seed):
    *before, current = tables([drawn[0], *drawn])
    renamed = [
        table.sample(fraction=1, shuffle=True, seed=seed).with_columns(
            pl.col("origin").replace_strict(dict(zip("abcde", names, strict=True)))
        )
        for table in (*before, current)
    ]

    first = read(a_reference(*before, inputs=(ORIGIN, SEATS)), current)
    second = read(a_reference(*renamed[:-1], inputs=(ORIGIN, SEATS)), renamed[-1])

    assert [f.percent for f in second.features] == pytest.approx([f.percent for f in first.features])
    assert [f.is_actionable for f in second.features] == [f.is_actionable for f in first.features]


def test_very_many_rare_categories_are_called_that_and_not_constant():
    of_many = pl.DataFrame({"origin": [f"stop {number}" for number in range(5_000)]})

    reading = read_one(steady(of_many), of_many)

    assert reading.note.endswith(
        "100 % of the reference lies in 5,000 categories of less than 0.5% each, which share one bin: rows that move between "
        "them are not detected"
    )
    assert "constant" not in reading.note


def test_a_single_category_is_constant_and_a_few_common_ones_are_nothing_to_note():
    assert "constant in the reference" in read_one(steady(of_origins(EWR=500)), of_origins(EWR=900, JFK=100)).note
    assert read_one(steady(of_origins(EWR=500, JFK=500)), of_origins(EWR=1000, JFK=1000)).note == ""


def test_a_reading_in_which_no_feature_acts_says_what_it_would_take():
    reference = steady(of_origins(EWR=50, JFK=50))

    reading = read(reference, of_origins(EWR=100, JFK=100))

    # 3.090 * sqrt(0.25 (1/1000 + 1/200)) = 12.0 %, as in the test of the smallest detectable shift; (12.0 / 5)^2 * 200 = 1,146
    assert reading.state is DriftState.INCONCLUSIVE
    assert "The most sensitive is origin, which detects shifts from 12.0 % of 200 rows" in reading.reason
    assert "about 1,146 rows in a window would show 5 %, 5.8 times as many" in reading.reason
    few = measure_drift(reference, of_origins(EWR=100, JFK=100), min_rows=1_000)
    assert few.reason == "200 rows, the policy asks for 1000: a period has to be 5 times as long, or min_rows lower"
