"""The assets that each kind of run materialises."""

import dagster as dg

from mlops_assets.data.assets import raw_assets
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.inference import ProbationRecord
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from mlops_assets.records.testing import StagingReport, TestReport
from mlops_assets.records.training import Leaderboard, ModelRecord, Recipe
from resources.asset_parts import key_of


def arrival(product: ModelProduct) -> list[dg.AssetKey]:
    """A period arrived: store it, predict it, read its drift."""
    names = [*raw_assets(product), "features", "online_features", "predictions", DriftRecord.asset]
    return [key_of(product, name) for name in names]


def first_arrival(product: ModelProduct) -> list[dg.AssetKey]:
    """A period arrived before anything was deployed: store it."""
    return [key_of(product, name) for name in [*raw_assets(product), "features", "online_features"]]


def labelled(product: ModelProduct) -> list[dg.AssetKey]:
    """The labels of a predicted period are due: measure and decide."""
    records = (PerformanceRecord, StalenessRecord, ProbationRecord, DriftDecision)
    return [key_of(product, name) for name in ("labels", *(record.asset for record in records))]


def only_labels(product: ModelProduct) -> list[dg.AssetKey]:
    """The labels of a period without predictions are due."""
    return [key_of(product, "labels")]


def development(product: ModelProduct) -> list[dg.AssetKey]:
    """Run the experiment, and promote its recipe."""
    return [key_of(product, name) for name in (Leaderboard.asset, Recipe.asset)]


def retraining(product: ModelProduct) -> list[dg.AssetKey]:
    """From the training set to the champion, or to a person's acceptance."""
    names = ["training_set", ModelRecord.asset, TestReport.asset, StagingReport.asset, AcceptanceRecord.asset]
    return [key_of(product, name) for name in [*names, *(["deployment"] if is_automatic(product) else [])]]


def answered(product: ModelProduct) -> list[dg.AssetKey]:
    """A person answered: store the acceptance, and deploy an approved version."""
    return [key_of(product, name) for name in (AcceptanceRecord.asset, "deployment")]


def is_automatic(product: ModelProduct) -> bool:
    return product.acceptance.kind == "automatic"
