"""The pages of a test report that people read: Evidently's page beside the champion, and the model card."""

from pathlib import Path

import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import GateResult
from mlops_assets.records.testing import TestReport
from mlops_assets.records.training import Recipe
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import Manifest
from mlops_assets.state.workspace import ProductState
from mlops_assets.testing.evidently_page import dataset, evidently, number, outcomes, panel, quality, sample, write_page
from mlops_assets.testing.model_card import write_card
from mlops_assets.training.fit import label_codes


def save_card(
    state: ProductState,
    manifest: Manifest,
    report: TestReport,
    gates: tuple[GateResult, ...],
    recipe: Recipe | None,
) -> str:
    """Store the model card with the reports, from where the API serves it; returns its text."""
    text = write_card(state.product, manifest, report, gates, recipe)
    state.reports.save("model_card", str(manifest.version), text, "md")
    return text


@evidently()
def render_test_report(
    product: ModelProduct,
    report: TestReport,
    gates: tuple[GateResult, ...],
    challenger: Bundle,
    champion: Bundle | None,
    rows: pl.DataFrame,
    path: Path,
) -> None:
    """Write one HTML page: the gates and scores of all rows, and Evidently's plots of a sample, with the challenger as current
    and the champion as reference on the same rows. Raises OSError if `path` cannot be written."""
    shown, _ = sample(rows, product.seed)
    tables = [_scored(product, bundle, shown) for bundle in (challenger, champion) if bundle is not None]
    can_draw = all(table["label"].drop_nulls().n_unique() > 1 for table in tables)
    gain = report.against_champion(product.metric)
    top = panel(
        title=f"{product.name} version {report.version}: test report",
        value=report.value_of(product.metric),
        counters=[
            (product.metric, number(report.value_of(product.metric))),
            ("rows", f"{report.rows:,}"),
            ("gain over the champion", "no champion" if gain is None else f"{gain.gain:+.4f}"),
            ("gates passed", f"{sum(gate.passed for gate in gates)} of {len(gates)}"),
        ],
        notes=[
            f"Scores and gates use all {report.rows:,} unseen rows; the plots below show a sample of {shown.height:,}"
            + (", the champion (reference) on the same rows." if champion else ".")
        ],
        columns=["gate", "passed", "reason"],
        rows=[[gate.gate, "yes" if gate.passed else "no", gate.reason] for gate in gates],
    )
    definition, plots = quality(outcomes(tables[0], product.task), product.task)
    sides = [dataset(outcomes(table, product.task), definition) for table in tables]
    write_page([top, *(plots if can_draw else [])], sides[0], sides[1] if len(sides) > 1 else None, str(path))


def _scored(product: ModelProduct, bundle: Bundle, rows: pl.DataFrame) -> pl.DataFrame:
    """Columns `label` and `score`, without rows whose class the bundle was not trained on."""
    labels = label_codes(product.task, rows[LABEL], bundle.manifest.classes)
    scores = np.asarray(bundle.predict(rows), dtype=np.float64)
    return pl.DataFrame({"label": labels, "score": scores.tolist() if scores.ndim > 1 else scores}).filter(
        pl.col("label").is_finite()
    )
