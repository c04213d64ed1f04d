"""Live answers stand beside the batch's scores of the same rows."""

from datetime import timedelta

import polars as pl

from mlops_assets.inference.live import LIVE_SCORE, LIVE_SERVED_AT, LIVE_VERSION, with_live_answers
from mlops_assets.products.source import Kind
from mlops_assets.state.dtypes import DTYPES
from tests.unit.training.builders import a_multiclass, a_product, january

SCORED = pl.DataFrame({"ride": [1, 2, 3], "asked_at": [january(5)] * 3, "score": [0.1, 0.2, 0.3], "model_version": 1})


def logged(*answers: tuple[int, int, float, int]) -> pl.DataFrame:
    """Ride, day of its event, score, minutes after which it was served, by version 7."""
    return pl.DataFrame(
        {
            "ride": [float(ride) for ride, *_ in answers],  # a key that is a feature is logged as one
            "event_time": [january(day) for _, day, *_ in answers],
            "served_at": [january(day) + timedelta(minutes=late) for _, day, _, late in answers],
            "prediction": [score for _, _, score, _ in answers],
            "probabilities": [[score, 1 - score] for _, _, score, _ in answers],
            "version": 7,
        }
    )


def test_a_row_that_was_asked_live_holds_that_answer_and_others_null():
    rows = with_live_answers(a_product(), SCORED, logged((2, 5, 0.75, 3)), january(5), january(6))

    assert rows.select("ride", "score", LIVE_SCORE, LIVE_VERSION).rows() == [
        (1, 0.1, None, None),
        (2, 0.2, 0.75, 7),
        (3, 0.3, None, None),
    ]
    assert rows[LIVE_SERVED_AT][1] == january(5) + timedelta(minutes=3)


def test_the_newest_of_several_answers_counts_and_other_periods_do_not():
    answers = logged((1, 5, 0.5, 9), (1, 5, 0.25, 2), (3, 6, 0.9, 0), (3, 4, 0.9, 0))

    rows = with_live_answers(a_product(), SCORED, answers, january(5), january(6))

    assert rows[LIVE_SCORE].to_list() == [0.5, None, None]


def test_without_a_log_every_live_answer_is_null_of_the_right_kind():
    rows = with_live_answers(a_product(), SCORED, pl.DataFrame(), january(5), january(6))

    assert rows[LIVE_SCORE].to_list() == [None] * 3
    assert rows.schema[LIVE_SERVED_AT] == DTYPES[Kind.TIMESTAMP]


def test_a_multiclass_answer_holds_every_probability():
    rows = with_live_answers(a_multiclass(), SCORED, logged((3, 5, 0.75, 0)), january(5), january(6))

    assert rows[LIVE_SCORE].to_list() == [None, None, [0.75, 0.25]]
