"""Latency of a challenger's one-row requests, compared with a witness on the same machine to factor out the machine's load.

The witness is the champion on a server of its own or, before there is one, the health route of the challenger's server. Its
requests alternate with the challenger's, so both meet the same load. A broken limit counts against the challenger only if it
would have been broken on an idle machine; otherwise the round is inconclusive.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from mlops_assets.records.testing import LatencyReading

P99 = 0.99
UNDISTURBED = 0.05  # quantile of the witness that stands for a request without delay
RESAMPLES = 1_000
CONFIDENCE = 0.99  # one-sided, because a refusal by chance costs a retraining
LEAST_SHARE = 0.02  # of the machine that was left to staging; the clock ticks of a short round are no finer


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


def read_round(
    challenger: NDArray[np.float64],
    witness: NDArray[np.float64],
    *,
    name: str,
    cpu: float,
    others_share: float,
    rounds: int = 1,
) -> LatencyReading:
    """challenger, witness: milliseconds of requests that were sent in turn, (n,) each. name: of the witness.

    A busy machine adds to the challenger what it adds to the witness (its p99 minus an undisturbed request), and it slows the
    challenger's own work: if other programs use 3/4 of the machine, a program gets a quarter."""
    stretched = cpu * (1 / max(1 - others_share, LEAST_SHARE) - 1)
    undisturbed = float(np.quantile(witness, UNDISTURBED))
    slower_by = _low_end_of_difference(challenger, witness)
    return LatencyReading(
        requests=len(challenger),
        p50=float(np.quantile(challenger, 0.5)),
        p99=float(np.quantile(challenger, P99)),
        witness=name,
        witness_p99=float(np.quantile(witness, P99)),
        slower_by=slower_by,
        own=slower_by + undisturbed - stretched,
        cpu=cpu,
        others_share=others_share,
        rounds=rounds,
    )


def verdict_on(reading: LatencyReading, limit: float) -> Verdict:
    """A limit that is kept counts as passed, however busy the machine was. A broken one counts as failed if the processor
    time of a request exceeds the limit, or if the challenger's own part exceeds it and it is slower than the witness."""
    if reading.p99 <= limit:
        return Verdict.PASSED
    if reading.cpu > limit or (reading.own > limit and reading.slower_by > 0):
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE


def in_words(reading: LatencyReading, limit: float) -> str:
    """The verdict with its evidence, in one sentence."""
    verdict = verdict_on(reading, limit)
    sign = "<=" if verdict is Verdict.PASSED else ">"
    measured = f"99 of 100 requests within {reading.p99:.1f} ms {sign} {limit:g} ms"
    if verdict is Verdict.PASSED:
        return measured
    beside = f"{reading.witness} within {reading.witness_p99:.1f} ms under the same load"
    if verdict is Verdict.FAILED:
        if reading.cpu > limit:
            return f"{measured}, {beside}; a slow request takes {reading.cpu:.1f} ms of a processor"
        return f"{measured}, {beside}; at least {reading.own:.1f} ms of it are the version's own"
    return (
        f"{measured}, {beside}; a slow request takes {reading.cpu:.1f} ms of a processor, and other programs used "
        f"{reading.others_share:.0%} of the machine: not conclusive after {reading.rounds} "
        f"round{'s' if reading.rounds != 1 else ''}"
    )


def _low_end_of_difference(challenger: NDArray[np.float64], witness: NDArray[np.float64]) -> float:
    """Of the two p99, by resampling pairs of requests that were sent at the same moment."""
    picked = np.random.default_rng(0).integers(len(challenger), size=(RESAMPLES, len(challenger)))
    differences = np.quantile(challenger[picked], P99, axis=1) - np.quantile(witness[picked], P99, axis=1)
    return float(np.quantile(differences, 1 - CONFIDENCE))
