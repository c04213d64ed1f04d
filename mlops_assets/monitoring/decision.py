"""Decides what to do about the readings of a period, and why. Pure, so that history can be replayed."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile

import msgspec

from mlops_assets.monitoring.onset import first_whole_period, onset
from mlops_assets.products.periods import spelled
from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.products.task import METRICS
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftReading, PerformanceReading, StalenessReading

SEVERITY = (Action.INCONCLUSIVE, Action.NONE, Action.WATCH, Action.RETRAIN, Action.REWORK)
ROUNDING = 0.5  # percent: readings are rounded to whole percent before they are compared with the bands
YEAR = timedelta(days=365)


class _Proposal(msgspec.Struct, frozen=True):
    """The action that one kind of reading calls for, before flags, cooldown and budget are considered."""

    action: Action
    percent: float | None
    low: float | None
    high: float | None
    features: tuple[str, ...]
    reason: str
    since: str = ""


def decide(
    *,
    period: str,
    drift: DriftReading,
    performance: PerformanceReading | None,
    history: Sequence[DriftDecision],
    policy: DriftPolicy,
    now: datetime,
    retrained_at: Sequence[datetime],
    awaiting_rework: bool,
    model_version: int,
    staleness: StalenessReading | None = None,
    trained_until: datetime | None = None,
    read_from: Mapping[str, str] | None = None,
    periods_in_window: int = 1,
    newest_learnable: str = "",
) -> DriftDecision:
    """Decide what to do about `period`, whose readings are of model version `model_version`.

    history: decisions of older periods, oldest first. retrained_at: decisions to retrain. awaiting_rework: the version is
    flagged and no new recipe has left development. trained_until: end of the champion's training rows. periods_in_window:
    windows that are fewer periods apart share rows, so they do not confirm each other. newest_learnable: a shift that began
    in a later period cannot be learned yet; "": any can. The rules, in this order:

    1. Data drift: the action of the smallest reading among `agreeing_periods` of the last `of_periods` readings of one feature.
    2. Model drift: the action of the loss, pooled over at least `agreeing_periods` periods. Its interval must exclude zero, and
       it must exceed twice its natural spread.
    3. Both use the same bands, and step down to a lower band if the interval does not reach the band.
    4. Staleness: retrain if a fresh model gains at least `stale` percent, with an interval above zero.
    5. Age: retrain if the champion's training rows ended `max_age` ago and no retraining was decided since.
    6. The most severe action wins, the first of equals.
    7. A flag for rework stops every further action until a new recipe leaves development.
    8. Cooldown, the yearly budget, and a shift that cannot be learned yet turn a retraining into a watch: a retraining without
       rows of the shift would only be followed by a second one. They do not stop a rework.
    """
    same_version = list(takewhile(lambda past: past.model_version == model_version, reversed(history)))[::-1]
    proposals = [
        _propose_for_data_drift(period, drift, same_version, policy, periods_in_window),
        *_propose_for_model_drift(period, performance, same_version, policy),
        *_propose_for_staleness(staleness),
        *_propose_for_age(trained_until, policy, now, retrained_at),
    ]
    chosen = max(proposals, key=lambda proposal: SEVERITY.index(proposal.action))
    obstacle = _obstacle(chosen.action, policy, now, retrained_at, awaiting_rework)
    if not obstacle and chosen.action is Action.RETRAIN and newest_learnable and chosen.since > newest_learnable:
        obstacle = f"waits until more of the shift since {chosen.since} is known: a version could not learn it yet"
    return DriftDecision(
        period=period,
        action=Action.WATCH if obstacle else chosen.action,
        percent=chosen.percent,
        low=chosen.low,
        high=chosen.high,
        features=chosen.features,
        reason=f"{chosen.reason}; {obstacle}" if obstacle else chosen.reason,
        band=Action.INCONCLUSIVE if drift.percent is None else band_of(drift.percent, policy),
        reading=drift.percent,
        by_feature=() if drift.percent is None else tuple(_actionable_percents(drift).items()),
        model_version=model_version,
        model_loss=_loss(performance),
        fresh_gain=staleness.percent if staleness is not None else None,
        read_from=tuple(sorted((read_from or {}).items())),
        unpooled_loss=_unpooled_loss(performance),
        since=chosen.since if _is_serious(chosen.action) else "",
    )


def band_of(percent: float, policy: DriftPolicy) -> Action:
    """The band of a reading, which is rounded to whole percent, halves up."""
    return policy.band(math.floor(percent + 0.5))


def _propose_for_data_drift(
    period: str,
    drift: DriftReading,
    same_version: Sequence[DriftDecision],
    policy: DriftPolicy,
    periods_in_window: int,
) -> _Proposal:
    if drift.percent is None or drift.low is None or drift.high is None:
        return _Proposal(Action.INCONCLUSIVE, None, None, None, (), f"inconclusive: {drift.reason}")
    now = _actionable_percents(drift)
    agreed = _agreed_percents(now, same_version, policy, periods_in_window)
    name = max(agreed, key=lambda feature: agreed[feature], default="")
    confirmed = band_of(agreed.get(name, 0.0), policy)
    if _is_serious(confirmed):
        earlier = [
            (past.period, dict(past.by_feature).get(name, 0.0)) for past in same_version if past.reading is not None
        ]
        low = next(feature.low for feature in drift.features if feature.name == name)
        since = first_whole_period([*earlier, (period, now[name])], agreed[name], low)
        return _propose_confirmed(drift, name, agreed, policy, since)

    band = band_of(drift.percent, policy)
    if band is Action.NONE:
        moved = drift.reason if drift.feature == "" else f"{drift.reason}, {_band_text(band, policy)}"
        return _Proposal(band, drift.percent, drift.low, drift.high, (), moved)
    unconfirmed = f", not yet confirmed by {_needed_periods(policy)}" if _is_serious(band) else ""
    reason = f"{drift.reason}, {_band_text(band, policy)}{unconfirmed}"
    return _Proposal(Action.WATCH, drift.percent, drift.low, drift.high, _reaching(band, now, policy), reason)


def _propose_confirmed(
    drift: DriftReading, name: str, agreed: Mapping[str, float], policy: DriftPolicy, since: str
) -> _Proposal:
    """Propose an action on the agreed reading of feature `name`, with the width of this period's interval."""
    percent = agreed[name]
    reading = next(feature for feature in drift.features if feature.name == name)
    low = max(0.0, percent - (reading.percent - reading.low))
    high = min(100.0, percent + (reading.high - reading.percent))
    band = band_of(percent, policy)
    action = _supported(band, low, policy)
    reason = f"{percent:.1f} % of rows moved in {name} ({low:.1f} to {high:.1f}), {_band_text(band, policy)}"
    reason += f", confirmed by {_needed_periods(policy)}{_stepped_down(band, action)}"
    return _Proposal(action, percent, low, high, _reaching(action, agreed, policy), reason, since)


def _propose_for_model_drift(
    period: str, performance: PerformanceReading | None, same_version: Sequence[DriftDecision], policy: DriftPolicy
) -> tuple[_Proposal, ...]:
    """Empty without an actionable loss."""
    if performance is None or not performance.is_actionable:
        return ()
    loss, low, high = performance.loss_percent, performance.loss_low, performance.loss_high
    if loss is None or low is None or high is None:
        return ()
    band = band_of(loss, policy)
    text = f"{loss:.1f} % of {performance.metric} lost ({low:.1f} to {high:.1f}), {_band_text(band, policy)}"
    if performance.periods < policy.agreeing_periods:
        reason = f"{text}, not yet confirmed by {_needed_periods(policy)}"
        return (_Proposal(Action.WATCH, loss, low, high, (), reason),)
    action = _supported(band, low, policy)
    pooled = "" if performance.periods == 1 else f", pooled over {performance.periods} periods"
    losses = [(past.period, past.unpooled_loss) for past in same_version] + [(period, _unpooled_loss(performance))]
    since = onset([(name, lost) for name, lost in losses if lost is not None], loss)
    return (_Proposal(action, loss, low, high, (), f"{text}{pooled}{_stepped_down(band, action)}", since),)


def _propose_for_staleness(staleness: StalenessReading | None) -> tuple[_Proposal, ...]:
    """Empty if no fresh model was tried, or its gain is not worth a retraining."""
    if staleness is None or not staleness.is_actionable:
        return ()
    return (_Proposal(Action.RETRAIN, staleness.percent, staleness.low, staleness.high, (), staleness.reason),)


def _propose_for_age(
    trained_until: datetime | None, policy: DriftPolicy, now: datetime, retrained_at: Sequence[datetime]
) -> tuple[_Proposal, ...]:
    """Empty below `max_age`. A decision to retrain counts as one, whether or not its version passed the gates."""
    if policy.max_age is None or trained_until is None:
        return ()
    age = now - max([trained_until, *retrained_at])
    if age < policy.max_age:
        return ()
    whole = timedelta(days=age.days) or timedelta(hours=age // timedelta(hours=1))
    reason = f"no retraining for {spelled(whole)}, the policy asks for one after {spelled(policy.max_age)}"
    return (_Proposal(Action.RETRAIN, None, None, None, (), reason),)


def _loss(performance: PerformanceReading | None) -> float | None:
    if performance is None or performance.loss_percent is None:
        return None
    return performance.loss_percent if performance.is_actionable else 0.0


def _unpooled_loss(performance: PerformanceReading | None) -> float | None:
    if performance is None or performance.unpooled_value is None or performance.expected == 0:
        return None
    return (
        -100
        * METRICS[performance.metric].gain(performance.unpooled_value, performance.expected)
        / abs(performance.expected)
    )


def _obstacle(
    action: Action, policy: DriftPolicy, now: datetime, retrained_at: Sequence[datetime], awaiting_rework: bool
) -> str:
    """Why a retraining or rework becomes a watch, "" if nothing prevents it."""
    if not _is_serious(action):
        return ""
    if awaiting_rework:
        return "flagged for rework: automatic retraining is off until a new recipe leaves development"
    if action is Action.REWORK:
        return ""
    if retrained_at and now < (until := max(retrained_at) + policy.cooldown):
        return f"cooldown until {until:%Y-%m-%d}"
    if sum(now - YEAR < moment <= now for moment in retrained_at) >= policy.retrainings_per_year:
        return f"the budget of {policy.retrainings_per_year} retrainings a year is used up"
    return ""


def _actionable_percents(drift: DriftReading) -> dict[str, float]:
    return {reading.name: reading.percent for reading in drift.features if reading.is_actionable}


def _agreed_percents(
    now: Mapping[str, float], same_version: Sequence[DriftDecision], policy: DriftPolicy, periods_in_window: int
) -> dict[str, float]:
    """Per feature the smallest of this reading and of the largest earlier ones, `agreeing_periods` in all of the last
    `of_periods`; 0 while there are too few readings.

    Inconclusive periods have no reading and are skipped. Readings of another model version had another reference and do not
    count."""
    without_overlap = islice(reversed(same_version), periods_in_window - 1, None, periods_in_window)
    readings = [dict(past.by_feature) for past in without_overlap if past.reading is not None]
    needed = policy.agreeing_periods
    recent = readings[: max(policy.of_periods, needed) - 1]
    if len(recent) < needed - 1:
        return dict.fromkeys(now, 0.0)
    agreed = {}
    for name, percent in now.items():
        earlier = sorted((past.get(name, 0.0) for past in recent), reverse=True)
        agreed[name] = min([percent, *earlier[: needed - 1]])
    return agreed


def _needed_periods(policy: DriftPolicy) -> str:
    needed = "1 period" if policy.agreeing_periods == 1 else f"{policy.agreeing_periods} periods"
    return f"{needed} of {policy.of_periods}" if policy.of_periods > policy.agreeing_periods else needed


def _is_serious(action: Action) -> bool:
    return action in (Action.RETRAIN, Action.REWORK)


def _supported(band: Action, low: float, policy: DriftPolicy) -> Action:
    """`band`, or the highest lower band whose limit the lower end of the interval reaches, up to rounding."""
    limits = ((Action.REWORK, policy.rework), (Action.RETRAIN, policy.retrain), (Action.WATCH, policy.watch))
    reached = next((action for action, limit in limits if low >= limit - ROUNDING), Action.NONE)
    return min(band, reached, key=SEVERITY.index)


def _stepped_down(band: Action, action: Action) -> str:
    return "" if action is band else f"; the interval supports no more than {action}"


def _reaching(action: Action, readings: Mapping[str, float], policy: DriftPolicy) -> tuple[str, ...]:
    """Features whose reading lies in the band of `action` or a higher one, largest first."""
    least = SEVERITY.index(action)
    names = [name for name, percent in readings.items() if SEVERITY.index(band_of(percent, policy)) >= least]
    return tuple(sorted(names, key=lambda name: -readings[name]))


def _band_text(band: Action, policy: DriftPolicy) -> str:
    return {
        Action.NONE: f"below {policy.watch:g}",
        Action.WATCH: f"band {policy.watch:g} to {policy.retrain:g}",
        Action.RETRAIN: f"band {policy.retrain:g} to {policy.rework:g}",
        Action.REWORK: f"above {policy.rework:g}",
    }[band]
