"""Batch predictions: every row by the champion that served when its event happened."""

from datetime import datetime
from pathlib import Path

import polars as pl

from mlops_assets.errors import NoChampion
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.model_bundle import Bundle

SCORE, VERSION = "score", "model_version"


def predict_period(product: ModelProduct, features: pl.DataFrame, history: list[Deployment]) -> pl.DataFrame:
    """Entity key, event timestamp, score and model version of every row that happened while something was deployed.

    score: probability of class 1 or prediction (float64); a list of class probabilities for multiclass.
    history: deployments, oldest first. Raises NoChampion: every row happened before the first of them."""
    parts = []
    ends: list[datetime | None] = [*(deployment.deployed_at for deployment in history[1:]), None]
    for deployment, end in zip(history, ends, strict=False):  # without a deployment there is one end and nothing to end
        event = pl.col(product.event_timestamp)
        served = features.filter(event >= deployment.deployed_at, event < end if end is not None else True)
        if served.height:
            parts.append(_predict(product, served, Bundle.open(Path(deployment.bundle), product, threads=2)))
    if not parts:
        raise NoChampion(product.name)
    return pl.concat(parts).sort(product.event_timestamp, *product.entity_key)


def _predict(product: ModelProduct, rows: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    identity = list(dict.fromkeys((*product.entity_key, product.event_timestamp)))
    scores = bundle.predict(rows)
    column = (
        pl.Series(SCORE, scores.tolist(), dtype=pl.List(pl.Float64))
        if product.task is Task.MULTICLASS
        else pl.Series(SCORE, scores, dtype=pl.Float64)
    )
    return rows.select(identity).with_columns(column, pl.lit(bundle.manifest.version, pl.Int64).alias(VERSION))
