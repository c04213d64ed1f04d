"""The story of a replay: what every period brought, why it was decided so, and what the first model would have scored."""

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
    """One period of the story; the scores are None where they do not exist."""

    period: str
    rows: int
    drift: float | None
    decision: DriftDecision
    performance: float | None
    never_retrained: float | None


def week_of(state: ProductState, key: str, *, is_scored: bool = True) -> Week:
    """is_scored: with the scores, which take a prediction of the whole period.

    Raises PartitionMissing: the period was not decided yet."""
    drift = state.records.load(DriftRecord, key).reading
    performance, never_retrained = _scores_of(state, key) if is_scored else (None, None)
    return Week(key, drift.rows, drift.percent, state.records.load(DriftDecision, key), performance, never_retrained)


def _scores_of(state: ProductState, key: str) -> tuple[float | None, float | None]:
    """Of the champions of the period, and of the first one alone, which is the same where it was the only one."""
    history, end = state.ledger.history(), state.product.period.at(key).end
    performance = state.records.load(PerformanceRecord, key).reading.unpooled_value
    if performance is None:
        performance = score_of(state, key, history)
    if [item for item in history if item.deployed_at < end] == history[:1]:
        return performance, performance
    return performance, score_of(state, key, history[:1])


def score_of(state: ProductState, key: str, history: list[Deployment]) -> float | None:
    """What these deployments scored in this period, or the first alone would have: on the same rows."""
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
    found = []
    for key in state.records.keys(DriftDecision):
        try:
            found.append(week_of(state, key, is_scored=is_scored))
        except PartitionMissing:
            continue  # a decision of a period whose labels were removed since
    return found


def one_line(week: Week) -> str:
    """`2013-04-29: 6,412 flights, data drift 3.1 %, watch`"""
    drift = "inconclusive" if week.drift is None else f"{week.drift:.1f} %"
    return f"{week.period}: {week.rows:,} rows, data drift {drift}, {week.decision.action}"


def year_table(product: ModelProduct, weeks: Iterable[Week], deployed: dict[str, int]) -> Table:
    """deployed: version that became champion after the period's decision."""
    shown = Table(title=f"{product.name}: {product.description}", caption_justify="left")
    for name in ("period", "rows", "drift %", "decision", "champion", f"{product.metric}", "never retrained"):
        shown.add_column(name, justify="left" if name in ("period", "decision") else "right")
    listed = list(weeks)
    for week in listed:
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
    shown.add_row(
        "mean", "", "", "", "", _mean(w.performance for w in listed), _mean(w.never_retrained for w in listed)
    )
    return shown


def decisions_table(weeks: Sequence[Week]) -> Table:
    """Why each period was decided as it was: the reading that it rests on, and the features that caused it.

    Periods in which nothing moved are left out; their number is in the caption."""
    quiet = sum(week.decision.action is Action.NONE for week in weeks)
    shown = Table(title="why", caption=f"decided none, as nothing moved: {quiet} periods" if quiet else None)
    shown.add_column("period", no_wrap=True)
    for name in ("decision", "feature", "why"):
        shown.add_column(name, overflow="fold")
    for week in weeks:
        decision = week.decision
        if decision.action is not Action.NONE:
            action = Text(decision.action, STYLES[decision.action])
            shown.add_row(week.period, action, Text(", ".join(decision.features) or "-"), Text(decision.reason))
    return shown


def what_inconclusive_needs(product: ModelProduct, weeks: Sequence[Week]) -> list[str]:
    """What the periods that said nothing would need; nothing where there is none."""
    silent = [week for week in weeks if week.drift is None]
    if not silent:
        return []
    needed = product.drift.min_rows
    few = [week.rows for week in silent if 0 < week.rows < needed]
    said = [f"{len(silent)} of {len(weeks)} readings of data drift are inconclusive."]
    if few:
        typical = sorted(few)[len(few) // 2]
        times = -(-needed // typical)
        said.append(
            f"{len(few)} of them have {min(few):,} to {max(few):,} rows, and the policy asks for min_rows={needed:,}: about "
            f"{needed - typical:,} rows more in a period, periods {times} times as long, or DriftPolicy(min_rows={min(few)}) "
            "if readings that vary more will do."
        )
    others = sorted({week.decision.reason for week in silent if not 0 < week.rows < needed})
    return [*said, *(f"{'The others' if few else 'The reason'}: {reason}." for reason in others[:3])]


def actions_in_words(weeks: Iterable[Week]) -> str:
    """Which of the four actions occurred, and which the data never caused."""
    counts = {action: 0 for action in (Action.NONE, Action.WATCH, Action.RETRAIN, Action.REWORK)}
    for week in weeks:
        if week.decision.action in counts:
            counts[week.decision.action] += 1
    happened = ", ".join(f"{action} {count}x" for action, count in counts.items() if count)
    never = ", ".join(action for action, count in counts.items() if not count)
    return f"Decisions: {happened}." + (f" The data of this year never caused: {never}." if never else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _mean(values: Iterable[float | None]) -> str:
    present = [value for value in values if value is not None]
    return f"{sum(present) / len(present):.4f}" if present else "-"
