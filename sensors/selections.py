"""Which assets one run materialises, and the tags by which runs are found again."""

import dagster as dg

from mlops_assets.data.assets import raw_assets
from mlops_assets.products.product import ModelProduct
from resources.asset_parts import key_of

CAUSE = "mlops/cause"  # what a sensor asked for, once per event: product:period:what
REMEMBERED = 100  # causes in a cursor; older ones are known by their runs


ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def arrival(product: ModelProduct) -> list[dg.AssetKey]:
    """A period arrived: store it, predict it, read its drift."""
    names = [*raw_assets(product), "features", "online_features", "predictions", "data_drift"]
    return [key_of(product, name) for name in names]


def first_arrival(product: ModelProduct) -> list[dg.AssetKey]:
    """A period arrived before anything was deployed: store it."""
    return [key_of(product, name) for name in [*raw_assets(product), "features", "online_features"]]


def labelled(product: ModelProduct) -> list[dg.AssetKey]:
    """The labels of a predicted period are due: measure and decide."""
    return [key_of(product, name) for name in ("labels", "performance", "staleness", "probation", "drift_decision")]


def only_labels(product: ModelProduct) -> list[dg.AssetKey]:
    """The labels of a period that nobody predicted are due."""
    return [key_of(product, "labels")]


def development(product: ModelProduct) -> list[dg.AssetKey]:
    """Search anew and let a recipe leave development."""
    return [key_of(product, name) for name in ("experiment", "recipe")]


def retraining(product: ModelProduct) -> list[dg.AssetKey]:
    """From the training set to the champion, or to the acceptance that a person gives."""
    names = ["training_set", "model", "test_report", "staging_report", "acceptance"]
    return [key_of(product, name) for name in [*names, *(["deployment"] if is_automatic(product) else [])]]


def answered(product: ModelProduct) -> list[dg.AssetKey]:
    """A person answered: take the answer up, and deploy what was approved."""
    return [key_of(product, name) for name in ("acceptance", "deployment")]


def is_automatic(product: ModelProduct) -> bool:
    return product.acceptance.kind == "automatic"


def under_way(instance: dg.DagsterInstance, product: ModelProduct, what: str) -> str | None:
    """The cause of a run of this kind that has not ended; periods follow each other, so the next one waits for it."""
    open_statuses = [status for status in dg.DagsterRunStatus if status not in ENDED]
    tags = {"product": product.name, "mlops/what": what}
    runs = instance.get_runs(dg.RunsFilter(tags=tags, statuses=open_statuses), limit=1)
    return runs[0].tags[CAUSE] if runs else None


def remembered(cursor: str | None) -> list[str]:
    """What a sensor asked for, oldest first: names and not the last one, since periods may come out of order."""
    return [name for name in (cursor or "").split(",") if name]


def remember(names: list[str], asked: str) -> str:
    return ",".join([*names, asked][-REMEMBERED:])


def was_asked(instance: dg.DagsterInstance, product: ModelProduct, period: str, what: str) -> bool:
    """Was there ever a run for this cause, whatever became of it?"""
    return instance.get_runs_count(dg.RunsFilter(tags={CAUSE: f"{product.name}:{period}:{what}"})) > 0


def request(
    instance: dg.DagsterInstance,
    product: ModelProduct,
    period: str,
    what: str,
    partition: str,
    selection: list[dg.AssetKey],
    *,
    since: float | None = None,
) -> dg.RunRequest | None:
    """A run for this cause; None when one already runs or succeeded, whatever became of the sensor's cursor.

    since: seconds since 1970 at which it was asked for; a run that came after that was the answer, whatever became of it.
    A run key is used up even by a failed run, so it counts the attempts that failed."""
    cause = f"{product.name}:{period}:{what}"
    records = instance.get_run_records(dg.RunsFilter(tags={CAUSE: cause}))
    statuses = [record.dagster_run.status for record in records]
    failed = [status for status in statuses if status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)]
    if len(failed) < len(statuses):
        return None
    if since is not None and any(record.create_timestamp.timestamp() >= since for record in records):
        return None
    return dg.RunRequest(
        run_key=f"{cause}:{len(failed) + 1}",
        partition_key=partition,
        asset_selection=selection,
        tags={CAUSE: cause, "product": product.name, "mlops/what": what},
    )
