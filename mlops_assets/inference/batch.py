"""Batch predictions: every row by the champion that served when its event happened."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.errors import NoChampion
from mlops_assets.features.opening import open_bundle
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.ledger import Deployment, terms
from mlops_assets.state.workspace import ProductState

SCORE, VERSION = "score", "model_version"


def predict_period(state: ProductState, features: pl.DataFrame, history: Sequence[Deployment]) -> pl.DataFrame:
    """Entity key, event timestamp, score and model version of every row that happened while something was deployed.

    A period without rows was scored by whoever serves now. score: probability of class 1 or prediction (float64); a list
    of class probabilities for multiclass. history: deployments, oldest first.
    Raises NoChampion: every row happened before the first of them."""
    product = state.product
    if features.is_empty() and history:
        return _scored(product, features, np.empty(0), history[-1].version)
    event = pl.col(product.event_timestamp)
    first, last = features.select(event.min().alias("first"), event.max().alias("last")).row(0)
    parts = []
    for deployment, end in terms(history):
        if deployment.deployed_at > last or (end is not None and end <= first):
            continue  # like most deployments of a long history
        served = features.filter(event >= deployment.deployed_at, event < end if end is not None else True)
        if served.height:
            bundle = open_bundle(state, deployment.version, threads=2)
            parts.append(_predict(product, served, bundle))
    if not parts:
        raise NoChampion(product.name, first_of(history))
    return pl.concat(parts).sort(product.event_timestamp, *product.entity_key)


def first_of(history: Sequence[Deployment]) -> str:
    """The first deployment in words, "" where there is none. history: oldest first."""
    return (
        f"version {history[0].version} was the first, at {history[0].deployed_at:%Y-%m-%d %H:%M} UTC" if history else ""
    )


def _predict(product: ModelProduct, rows: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    return _scored(product, rows, bundle.predict(rows), bundle.manifest.version)


def _scored(product: ModelProduct, rows: pl.DataFrame, scores: np.ndarray[Any, Any], version: int) -> pl.DataFrame:
    identity = list(dict.fromkeys((*product.entity_key, product.event_timestamp)))
    column = (
        pl.Series(SCORE, scores.tolist(), dtype=pl.List(pl.Float64))
        if product.task is Task.MULTICLASS
        else pl.Series(SCORE, scores, dtype=pl.Float64)
    )
    return rows.select(identity).with_columns(column, pl.lit(version, pl.Int64).alias(VERSION))
