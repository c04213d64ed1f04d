"""The table of the year: what every period brought, and what the first model would have scored."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import NothingToLearnFrom, PartitionMissing
from mlops_assets.inference.batch import SCORE, predict_period
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord
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


def week_of(state: ProductState, key: str) -> Week:
    """Raises PartitionMissing: the period was not decided yet."""
    drift = state.records.load(DriftRecord, key).reading
    return Week(
        key,
        drift.rows,
        drift.percent,
        state.records.load(DriftDecision, key),
        score_of(state, key, state.ledger.history()),
        score_of(state, key, state.ledger.history()[:1]),
    )


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


def weeks_of(state: ProductState) -> list[Week]:
    """Every period that was decided, oldest first."""
    found = []
    for key in state.records.keys(DriftDecision):
        try:
            found.append(week_of(state, key))
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
