"""Builder: a real bundle with a real ONNX model, small enough to work its answers out by hand."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import MODEL, REFERENCE, Input, Manifest, write_bundle

CATEGORIES = {"carrier": ("AA", "B6", "UA"), "origin": ("EWR", "JFK", "LGA"), "dest": ("IAH", "LAX", "MIA")}


def tiny_model(inputs: int, weight: float, bias: float, task: Task) -> bytes:
    """`weight` times the sum of the inputs (NaN counts as 0), plus `bias`; a sigmoid on top where classes are asked."""
    constants = {
        "zero": np.zeros((), np.float32),
        "one": np.ones((), np.float32),
        "weights": np.full((inputs, 1), weight, np.float32),
        "bias": np.array([bias], np.float32),
    }
    nodes = [
        helper.make_node("IsNaN", ["inputs"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "inputs"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["weighted"]),
    ]
    if task is Task.REGRESSION:
        nodes.append(helper.make_node("Add", ["weighted", "bias"], ["scores"]))
    else:
        nodes += [
            helper.make_node("Add", ["weighted", "bias"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
            helper.make_node("Sub", ["one", "probability"], ["complement"]),
            helper.make_node("Concat", ["complement", "probability"], ["scores"], axis=1),
        ]
    columns = 1 if task is Task.REGRESSION else 2
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, columns])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_manifest(product: ModelProduct, version: int = 1) -> Manifest:
    return Manifest(
        product=product.name,
        version=version,
        partition="2013-04-22",
        created_at=datetime(2013, 4, 22, tzinfo=UTC),
        task=product.task,
        label=product.label.name,
        label_unit=product.label.unit,
        metric=product.metric,
        inputs=tuple(
            Input(
                feature.name,
                feature.kind,
                feature.unit,
                CATEGORIES[feature.name] if feature.kind is FeatureKind.CATEGORICAL else (),
            )
            for feature in product.inputs
        ),
        classes=() if product.task is Task.REGRESSION else ("false", "true"),
        features_fingerprint=product.fingerprint(),
        estimator="linear",
        hyperparameters={},
        recipe_version=1,
        training_data_version="0" * 16,
        mlflow_run_id="",
        dagster_run_id="",
        git_commit="",
        rows=100,
        metrics={product.metric: 0.7},
    )


def write_tiny_bundle(
    folder: Path,
    product: ModelProduct,
    version: int = 1,
    *,
    weight: float = 0.0,
    bias: float = 0.0,
    typical: tuple[float, ...] = (),
) -> Manifest:
    model = tiny_model(len(product.inputs), weight, bias, product.task)
    manifest = msgspec.structs.replace(tiny_manifest(product, version), typical=typical)
    return write_bundle(folder, manifest, {MODEL: model, REFERENCE: b"{}"})


def deploy_tiny(
    home: Home,
    product: ModelProduct,
    version: int = 1,
    *,
    weight: float = 0.0,
    bias: float = 0.0,
    typical: tuple[float, ...] = (),
) -> Deployment:
    """Write the bundle of this version, where it is not there yet, and make it the champion."""
    folder = home.bundle(product.name, version)
    if not folder.exists():
        write_tiny_bundle(folder, product, version, weight=weight, bias=bias, typical=typical)
    deployment = Deployment(
        product.name, version, "2013-04-22", datetime.now(UTC), str(folder), f"version {version}", "test", ""
    )
    home.ledger.append(deployment)
    return deployment
