"""The summary of a replay: readings and decisions of every period, and what the first champion would have scored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import NothingToLearnFrom, PartitionMissing
from mlops_assets.inference.batch import SCORE, predict_period
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord, PerformanceRecord
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.fit import label_codes
from mlops_assets.training.metrics import score

STYLES = {
    Action.NONE: "",
    Action.WATCH: "yellow",
    Action.RETRAIN: "bold cyan",
    Action.REWORK: "bold red",
    Action.INCONCLUSIVE: "dim",
}


@dataclass(frozen=True)
class Week:
    """One period of the summary; scores are None where they do not exist."""

    period: str
    rows: int
    drift: float | None
    decision: DriftDecision
    performance: float | None
    never_retrained: float | None


def week_of(state: ProductState, key: str, *, is_scored: bool = True) -> Week:
    """is_scored: with the scores, for which the whole period is predicted.

    Raises PartitionMissing: the period has no decision yet."""
    drift = state.records.load(DriftRecord, key).reading
    performance, never_retrained = _scores_of(state, key) if is_scored else (None, None)
    return Week(key, drift.rows, drift.percent, state.records.load(DriftDecision, key), performance, never_retrained)


def _scores_of(state: ProductState, key: str) -> tuple[float | None, float | None]:
    """The scores of the period's champions, and of the first champion; equal where it was the only one."""
    history, end = state.ledger.history(), state.product.period.at(key).end
    performance = state.records.load(PerformanceRecord, key).reading.unpooled_value
    if performance is None:
        performance = score_of(state, key, history)
    if [item for item in history if item.deployed_at < end] == history[:1]:
        return performance, performance
    return performance, score_of(state, key, history[:1])


def score_of(state: ProductState, key: str, history: list[Deployment]) -> float | None:
    """The score of these deployments on the labelled rows of the period."""
    product = state.product
    features = state.tables.read("features", [key])
    labels = state.tables.read("labels", [key]).select(*product.entity_key, LABEL).drop_nulls()
    scored = predict_period(state, features, history).join(labels, on=list(product.entity_key), how="inner")
    codes = label_codes(product.task, scored[LABEL], state.bundles.manifest(history[0].version).classes)
    try:
        return score(product.metric, product.task, codes, scored[SCORE].to_numpy())
    except NothingToLearnFrom:
        return None


def weeks_of(state: ProductState, *, is_scored: bool = True) -> list[Week]:
    """Every period that was decided, oldest first."""
    weeks = []
    for key in state.records.keys(DriftDecision):
        try:
            weeks.append(week_of(state, key, is_scored=is_scored))
        except PartitionMissing:
            continue  # the labels of the decided period were removed since
    return weeks


def one_line(week: Week) -> str:
    """`2013-04-29: 6,412 flights, data drift 3.1 %, watch`"""
    drift = "inconclusive" if week.drift is None else f"{week.drift:.1f} %"
    return f"{week.period}: {week.rows:,} rows, data drift {drift}, {week.decision.action}"


def year_table(product: ModelProduct, weeks: Iterable[Week], deployed: dict[str, int]) -> Table:
    """deployed: the version that became champion after a period's decision."""
    shown = Table(title=f"{product.name}: {product.description}", caption_justify="left")
    for name in ("period", "rows", "drift %", "decision", "champion", f"{product.metric}", "never retrained"):
        shown.add_column(name, justify="left" if name in ("period", "decision") else "right")
    weeks = list(weeks)
    for week in weeks:
        decision = week.decision
        after = f" -> {deployed[week.period]}" if week.period in deployed else ""
        shown.add_row(
            week.period,
            f"{week.rows:,}",
            "-" if week.drift is None else f"{week.drift:.1f}",
            f"[{STYLES[decision.action]}]{decision.action}[/]" if STYLES[decision.action] else decision.action,
            f"{decision.model_version}{after}",
            _number(week.performance),
            _number(week.never_retrained),
        )
    shown.add_section()
    shown.add_row("mean", "", "", "", "", _mean(w.performance for w in weeks), _mean(w.never_retrained for w in weeks))
    return shown


def decisions_table(weeks: Sequence[Week]) -> Table:
    """The reason of each decision: the reading that it is based on, and the features that caused it.

    Periods without drift are left out; their number is in the caption."""
    quiet = sum(week.decision.action is Action.NONE for week in weeks)
    shown = Table(title="why", caption=f"{quiet} periods without drift: decided none" if quiet else None)
    shown.add_column("period", no_wrap=True)
    for name in ("decision", "feature", "why"):
        shown.add_column(name, overflow="fold")
    for week in weeks:
        decision = week.decision
        if decision.action is not Action.NONE:
            action = Text(decision.action, STYLES[decision.action])
            shown.add_row(week.period, action, Text(", ".join(decision.features) or "-"), Text(_why(week)))
    return shown


def what_inconclusive_needs(product: ModelProduct, weeks: Sequence[Week]) -> list[str]:
    """Sentences that say what the inconclusive readings need; none where every reading is conclusive."""
    inconclusive = [week for week in weeks if week.drift is None]
    if not inconclusive:
        return []
    needed = product.drift.min_rows
    few = [week.rows for week in inconclusive if 0 < week.rows < needed]
    sentences = [f"{len(inconclusive)} of {len(weeks)} readings of data drift are inconclusive."]
    if few:
        median = sorted(few)[len(few) // 2]
        times = -(-needed // median)
        sentences.append(
            f"{len(few)} of them have {min(few):,} to {max(few):,} rows, and the policy needs min_rows={needed:,}: give about "
            f"{needed - median:,} more rows in a period, periods {times} times as long, or DriftPolicy(min_rows={min(few)}) "
            "if less precise readings are enough."
        )
    others = sorted({_why(week) for week in inconclusive if not 0 < week.rows < needed})
    return [*sentences, *(f"{'The others' if few else 'The reason'}: {reason}." for reason in others[:3])]


def _why(week: Week) -> str:
    """The reason of a decision, without the name of the decision, which stands before it."""
    return week.decision.reason.removeprefix("inconclusive: ")


def actions_in_words(weeks: Iterable[Week]) -> str:
    """A sentence with the actions that were decided, and those that never were."""
    counts = {action: 0 for action in (Action.NONE, Action.WATCH, Action.RETRAIN, Action.REWORK)}
    for week in weeks:
        if week.decision.action in counts:
            counts[week.decision.action] += 1
    decided = ", ".join(f"{action} {count}x" for action, count in counts.items() if count)
    if not decided:
        return "Nothing was decided: no reading was conclusive."
    never = ", ".join(action for action, count in counts.items() if not count)
    return f"Decisions: {decided}." + (f" Never decided: {never}." if never else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _mean(values: Iterable[float | None]) -> str:
    present = [value for value in values if value is not None]
    return f"{sum(present) / len(present):.4f}" if present else "-"
