"""When a shift began, from the readings of one feature or from the losses of a model."""

from collections.abc import Sequence


def onset(readings: Sequence[tuple[str, float]], percent: float) -> str:
    """First period of a shift of `percent` that lasts until now: the one from which the summed excess over half of it is largest.

    readings: period and percent, oldest first. This is the most likely start of a step from 0 to `percent` in noisy readings
    (Hinkley 1970, Biometrika 57). "" if no such sum is positive."""
    excess, most, since = 0.0, 0.0, ""
    for period, read in reversed(readings):
        excess += read - percent / 2
        if excess > most:
            most, since = excess, period
    return since


def first_whole_period(readings: Sequence[tuple[str, float]], percent: float, low: float) -> str:
    """First period that lies wholly after the onset.

    low: lower end of the newest reading's interval. If less moved in the period of the onset, the shift began within it.
    Such a period shows only a part of the shift, so it does not count as learned."""
    since = onset(readings, percent)
    shifted = [(period, read) for period, read in readings if period >= since] if since else []
    return shifted[1][0] if len(shifted) > 1 and shifted[0][1] < low else since
