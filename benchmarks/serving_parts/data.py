"""What every server of the serving benchmark gets: one model, and distinct rows in each one's own form.

The model is scikit-learn's histogram gradient boosting with 200 trees on the inputs of `flight_delay`. The peers get the
inputs ready made, which spares them what we compute of a request; they train the same estimator with the same seed in
their own environment, where its pickle can be read.
"""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from examples.flights.flight_delay import flight_delay
from mlops_assets.data.labels import LABEL
from mlops_assets.features.golden import Golden
from mlops_assets.features.views import request_features
from mlops_assets.products.candidates import gradient_boosting
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.state.manifest import GOLDEN, MODEL, REFERENCE, Manifest
from mlops_assets.state.workspace import Workspace
from mlops_assets.testing.staging import request_row
from mlops_assets.training.conversion import to_onnx
from mlops_assets.training.fit import fit

TREES, TRAINING_ROWS, BODIES = 200, 20_000, 200
BATCHES = (1, 32, 1_024)
PREDICT = "/v1/models/flight_delay/predict"


def prepare(folder: Path) -> None:
    """Bundle, training rows for the peers, and request bodies; made once."""
    ready = folder / "home" / "ready"
    if ready.exists():
        return
    shutil.rmtree(folder / "home", ignore_errors=True)  # half made, or of an earlier layout
    draw = np.random.default_rng(7)
    requests = _requests(draw, TRAINING_ROWS)
    names = [column.name for column in flight_delay.request_columns()]
    features = request_features(flight_delay, requests.select(names))
    looked_up = [name for view in flight_delay.lookups for name in view.names]
    rows = features.with_columns(requests[name] for name in looked_up).select(
        pl.col(item.name).cast(pl.String if item.kind is FeatureKind.CATEGORICAL else pl.Float64)
        for item in flight_delay.inputs
    )
    risk = rows["wind_speed"] / 20 + rows["hour"] / 24 + rows["origin_late_rate"] * 2 + draw.normal(0, 1, rows.height)
    labels = (risk > risk.median()).alias(LABEL)
    fitted = fit(flight_delay, gradient_boosting(max_iter=TREES), rows.with_columns(labels))
    _write_bundle(folder, fitted, rows.height)
    folder.mkdir(parents=True, exist_ok=True)
    categories = {item.name: item.categories for item in fitted.inputs if item.categories}
    described = {"names": list(flight_delay.feature_names), "categories": categories, "trees": TREES}
    (folder / "model.json").write_text(json.dumps(described))
    rows.with_columns(labels.cast(pl.Int8)).write_csv(folder / "training.csv")
    _write_bodies(folder, requests, rows)
    ready.touch()


def _requests(draw: np.random.Generator, count: int) -> pl.DataFrame:
    start = datetime(2013, 1, 1, tzinfo=UTC)
    carriers = flight_delay.source.main.column("carrier").choices
    frame = pl.DataFrame(
        {
            "carrier": draw.choice(carriers, count),
            "flight": draw.integers(1, 9_000, count),
            "origin": draw.choice(["EWR", "JFK", "LGA"], count),
            "dest": draw.choice([f"D{number:02}" for number in range(90)], count),
            "scheduled_departure": [start + timedelta(minutes=int(m)) for m in draw.integers(0, 525_000, count)],
            "distance": draw.integers(80, 5_000, count),
            "aircraft_year": draw.integers(1_960, 2_013, count),
            "seats": draw.integers(2, 400, count),
        }
    )
    looked_up = {
        name: np.round(draw.gamma(4, 5, count), 2) if "rate" not in name else np.round(draw.random(count), 3)
        for view in flight_delay.lookups
        for name in view.names
    }
    return frame.with_columns(pl.Series(name, values) for name, values in looked_up.items())


def _write_bundle(folder: Path, fitted: Any, rows: int) -> None:
    state = Workspace(folder / "home").of(flight_delay)
    manifest = Manifest(
        product=flight_delay.name,
        version=1,
        partition="2013-07-01",
        created_at=datetime(2013, 7, 1, tzinfo=UTC),
        task=flight_delay.task,
        label=flight_delay.label.name,
        label_unit=flight_delay.label.unit,
        metric=flight_delay.metric,
        inputs=fitted.inputs,
        classes=fitted.classes,
        estimator="gradient_boosting",
        hyperparameters={"max_iter": TREES},
        recipe_version=1,
        training_data_version="",
        mlflow_run_id="",
        dagster_run_id="",
        git_commit="",
        rows=rows,
    )
    model = to_onnx(fitted.estimator, flight_delay.task, len(fitted.inputs))
    state.bundles.write(manifest, {MODEL: model, REFERENCE: b"{}", GOLDEN: Golden.record(flight_delay).pack()})
    state.ledger.deploy(1, manifest.partition, manifest.created_at, reason="benchmark", by="", after=0)


def _write_bodies(folder: Path, requests: pl.DataFrame, inputs: pl.DataFrame) -> None:
    """One Lua file per form and batch size: what wrk sends, one body after the other."""
    for batch in BATCHES:
        count = BODIES if batch < 1_000 else 8
        forms: dict[str, list[Any]] = {"ours": [], "inputs": [], "mlflow": [], "v2": [], "bentoml": []}
        for number in range(count):
            start = number * batch % (requests.height - batch)
            ours = [request_row(row) for row in requests[start : start + batch].iter_rows(named=True)]
            rows = inputs[start : start + batch]
            forms["ours"].append({"rows": ours})
            forms["inputs"].append({"rows": rows.to_dicts()})
            forms["bentoml"].append({"rows": rows.to_dicts()})
            forms["mlflow"].append(
                {"dataframe_split": {"columns": rows.columns, "data": [list(r) for r in rows.rows()]}}
            )
            forms["v2"].append(_v2(rows))
        for form, bodies in forms.items():
            _write_lua(folder / f"{form}_{batch}.lua", [json.dumps(body, separators=(",", ":")) for body in bodies])


def _v2(rows: pl.DataFrame) -> dict[str, Any]:
    columns = [
        {
            "name": column.name,
            "shape": [rows.height, 1],
            "datatype": "BYTES" if column.dtype == pl.String else "FP64",
            "parameters": {"content_type": "str"} if column.dtype == pl.String else {},
            "data": column.to_list(),
        }
        for column in rows
    ]
    return {"parameters": {"content_type": "pd"}, "inputs": columns}


def _write_lua(path: Path, bodies: list[str]) -> None:
    lines = ["local bodies = {", *(f"[==[{body}]==]," for body in bodies), "}", 'local path = os.getenv("TARGET")']
    lines += ['local headers = {["Content-Type"] = "application/json"}', "local next, requests = 0, {}"]
    # made once: the client must not be what is measured
    lines += ["init = function() for i, body in ipairs(bodies) do"]
    lines += ['requests[i] = wrk.format("POST", path, headers, body) end end']
    lines += ["request = function() next = next % #requests + 1; return requests[next] end"]
    lines += ["done = function(summary, latency) local e = summary.errors", "io.write(string.format("]
    lines += ['\'JSON {"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"errors":%d}\\n\', summary.requests,']
    lines += ["summary.duration / 1e6, latency:percentile(50), latency:percentile(99),"]
    lines += ["e.connect + e.read + e.write + e.status + e.timeout)) end"]
    path.write_text("\n".join(lines) + "\n")
