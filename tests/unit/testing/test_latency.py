"""Latency: a broken limit is the challenger's fault only where it would have broken it alone."""

import numpy as np
import pytest

from mlops_assets.products.gates import latency_p99
from mlops_assets.records.acceptance import GateResult
from mlops_assets.records.testing import LatencyReading
from mlops_assets.testing.gates import judge_latency, why_undecided
from mlops_assets.testing.latency import Verdict, in_words, read_round, verdict_on
from tests.unit.testing.builders import a_staging_report

LIMIT = 100.0


def steady(milliseconds: float) -> np.ndarray:
    return np.full(200, milliseconds)


def with_tail(milliseconds: float, tail: float, count: int) -> np.ndarray:
    """`count` of 200 requests take `tail`, spread evenly."""
    values = steady(milliseconds)
    values[:: 200 // count][:count] = tail
    return values


def reading(
    challenger: np.ndarray, witness: np.ndarray, *, cpu: float = 2.0, others: float = 0.0, rounds: int = 1
) -> LatencyReading:
    return read_round(challenger, witness, name="champion 4", cpu=cpu, others_share=others, rounds=rounds)


@pytest.mark.parametrize("others", [0.0, 0.99])
def test_a_limit_that_was_kept_was_kept_however_busy_the_machine_was(others):
    assert verdict_on(reading(steady(100.0), steady(3.0), others=others), LIMIT) is Verdict.PASSED


def test_a_challenger_that_is_always_slower_than_limit_and_champion_fails():
    measured = reading(steady(150.0), steady(3.0), cpu=149.0)

    assert verdict_on(measured, LIMIT) is Verdict.FAILED
    assert in_words(measured, LIMIT) == (
        "99 of 100 requests within 150.0 ms > 100 ms, champion 4 within 3.0 ms under the same load; a slow request takes "
        "149.0 ms of a processor"
    )


def test_a_challenger_that_waits_instead_of_working_fails_on_a_quiet_machine():
    measured = reading(steady(150.0), steady(3.0), cpu=1.0)

    assert (measured.slower_by, measured.own) == (147.0, 150.0)
    assert verdict_on(measured, LIMIT) is Verdict.FAILED
    assert in_words(measured, LIMIT).endswith("; at least 150.0 ms of it are the version's own")


def test_what_delayed_the_champion_as_well_is_no_fault_of_the_challenger():
    busy = with_tail(3.0, 189.0, 20)

    measured = reading(busy, np.roll(busy, 1), others=0.8)

    assert measured.p99 == measured.witness_p99 == 189.0
    assert verdict_on(measured, LIMIT) is Verdict.INCONCLUSIVE


def test_a_challenger_no_slower_than_a_champion_that_breaks_the_limit_too_is_not_refused():
    assert verdict_on(reading(steady(120.0), steady(120.0), cpu=1.0), LIMIT) is Verdict.INCONCLUSIVE


def test_work_that_others_stretched_beyond_the_limit_decides_nothing():
    """30 ms of work take 120 ms where others have three quarters of the machine; the light champion hardly notices."""
    measured = reading(steady(120.0), steady(3.0), cpu=30.0, others=0.75)

    assert measured.own == pytest.approx(120.0 - 30.0 * 3)
    assert verdict_on(measured, LIMIT) is Verdict.INCONCLUSIVE
    assert in_words(measured, LIMIT).endswith(
        "and other programs used 75% of the machine: not conclusive after 1 round"
    )


def test_work_beyond_the_limit_fails_on_the_busiest_machine():
    busy = with_tail(150.0, 900.0, 20)

    assert verdict_on(reading(busy, busy, cpu=101.0, others=0.98), LIMIT) is Verdict.FAILED


def test_a_wait_far_beyond_what_the_champion_waited_fails_on_a_busy_machine():
    assert verdict_on(reading(steady(500.0), with_tail(3.0, 60.0, 20), cpu=1.0, others=0.9), LIMIT) is Verdict.FAILED


def test_the_latency_gate_tells_what_is_open_from_what_failed():
    slow, stretched = reading(steady(150.0), steady(3.0)), reading(steady(120.0), steady(3.0), cpu=30.0, others=0.75)

    def judged(latency: LatencyReading) -> GateResult:
        return judge_latency(latency_p99(LIMIT), a_staging_report(latency=latency, p99_milliseconds=latency.p99))

    assert (judged(slow).passed, judged(slow).inconclusive) == (False, False)
    assert (judged(stretched).passed, judged(stretched).inconclusive) == (False, True)
    assert why_undecided([judged(stretched)]) == f"latency_p99: {in_words(stretched, LIMIT)}"
    assert why_undecided([judged(stretched), judged(slow)]) is None
    assert why_undecided([judged(reading(steady(3.0), steady(3.0)))]) is None
