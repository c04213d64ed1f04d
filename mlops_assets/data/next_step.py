"""How far a product has come, and what happens next, in one sentence."""

from mlops_assets.records.data import IncompletePeriod
from mlops_assets.state.workspace import ProductState


def labelled_history(state: ProductState) -> tuple[str, int]:
    """The partition that a first champion would have now, and how many periods of its training window are stored with labels.

    It begins when the newest labelled period ends; "" where nothing is labelled."""
    labelled = {*state.tables.keys("labels")} & {*state.tables.keys("features")}
    if not labelled:
        return "", 0
    periods = state.product.period
    key = periods.shift(periods.at(max(labelled)), 1).key
    window = periods.window_before(key, state.product.training_window)
    return key, sum(period.key in labelled for period in window)


def how_a_rework_ends(product: str) -> str:
    """The commands that a person runs after a version was flagged for rework."""
    return (
        f"Change the product's features, windows or candidates, then run `mlops experiment {product} --finalise` and "
        f"`mlops train {product}`."
    )


def progress_of(state: ProductState) -> str:
    """`churn: 42 periods are stored, 41 of them labelled; version 3 serves since 2024-05-06.`"""
    product = state.product
    stored, labelled = len(state.tables.keys("features")), len(state.tables.keys("labels"))
    progress = f"{product.name}: {stored} periods are stored, {labelled} of them with labels; "
    deployments = state.ledger.history()
    if deployments:
        serving = deployments[-1]
        serves = f"version {serving.version} serves since {serving.deployed_at:%Y-%m-%d}."
        return f"{progress}{serves}{_flagged(state)}{_incomplete(state)}"
    needed, (_, labelled_periods) = product.training_periods, labelled_history(state)
    if labelled_periods >= needed:
        return f"{progress}that is enough for the first champion, which needs {needed}.{_incomplete(state)}"
    return f"{progress}the first champion needs {needed}, {needed - labelled_periods} more.{_incomplete(state)}"


def _flagged(state: ProductState) -> str:
    flag = state.ledger.open_flag()
    if flag is None:
        return ""
    flagged = f"Version {flag.version} is flagged for rework since {flag.flagged_at:%Y-%m-%d}: {flag.reason}"
    return f" {flagged}. Automatic retraining is off. {how_a_rework_ends(state.product.name)}"


def _incomplete(state: ProductState) -> str:
    """The period that sensors wait for because its rows stop before its end."""
    keys = state.records.keys(IncompletePeriod)
    return f" {state.records.load(IncompletePeriod, keys[0]).reason}" if keys else ""
