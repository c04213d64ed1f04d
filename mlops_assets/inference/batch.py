"""Batch predictions: every row is scored by the champion that served at the time of its event."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.errors import NoChampion
from mlops_assets.features.opening import open_bundle
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.state.ledger import Deployment, terms
from mlops_assets.state.workspace import ProductState

SCORE, VERSION = "score", "model_version"


def predict_period(state: ProductState, features: pl.DataFrame, history: Sequence[Deployment]) -> pl.DataFrame:
    """Entity key, event timestamp, score and model version of every row whose event happened after the first deployment.

    An empty period counts as scored by the present champion. score: probability of class 1 or prediction (float64); a list
    of class probabilities for multiclass. history: deployments, oldest first.
    Raises NoChampion if every event happened before the first deployment."""
    product = state.product
    if features.is_empty() and history:
        return _scored(product, features, np.empty(0), history[-1].version)
    event = pl.col(product.event_timestamp)
    first, last = features.select(event.min().alias("first"), event.max().alias("last")).row(0)
    parts = []
    for deployment, end in terms(history):
        if deployment.deployed_at > last or (end is not None and end <= first):
            continue  # no row of the period falls into its term
        served = features.filter(event >= deployment.deployed_at, event < end if end is not None else True)
        if served.height:
            bundle = open_bundle(state, deployment.version, threads=2)
            parts.append(_scored(product, served, bundle.predict(served), deployment.version))
    if not parts:
        raise NoChampion(product.name, first_in_words(history))
    return pl.concat(parts).sort(product.event_timestamp, *product.entity_key)


def first_in_words(history: Sequence[Deployment]) -> str:
    """The first deployment in words, "" if there is none. history: oldest first."""
    return (
        f"version {history[0].version} was the first, at {history[0].deployed_at:%Y-%m-%d %H:%M} UTC" if history else ""
    )


def _scored(product: ModelProduct, rows: pl.DataFrame, scores: np.ndarray[Any, Any], version: int) -> pl.DataFrame:
    identity = list(dict.fromkeys((*product.entity_key, product.event_timestamp)))
    column = (
        pl.Series(SCORE, scores.tolist(), dtype=pl.List(pl.Float64))
        if product.task is Task.MULTICLASS
        else pl.Series(SCORE, scores, dtype=pl.Float64)
    )
    return rows.select(identity).with_columns(column, pl.lit(version, pl.Int64).alias(VERSION))
