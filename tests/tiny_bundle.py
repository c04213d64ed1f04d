"""Builder: a real bundle with a real ONNX model, small enough to work its answers out by hand."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mlops_assets.features.golden import Golden
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.manifest import GOLDEN, MODEL, REFERENCE, Input, Manifest
from mlops_assets.state.workspace import ProductState, Workspace

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


def tiny_files(product: ModelProduct, *, weight: float = 0.0, bias: float = 0.0) -> dict[str, bytes]:
    """What a bundle holds beside its manifest."""
    model = tiny_model(len(product.inputs), weight, bias, product.task)
    return {MODEL: model, REFERENCE: b"{}", GOLDEN: Golden.record(product).pack()}


def write_tiny_bundle(
    state: ProductState,
    version: int = 1,
    *,
    weight: float = 0.0,
    bias: float = 0.0,
    baseline_row: tuple[float, ...] = (),
) -> Manifest:
    manifest = msgspec.structs.replace(tiny_manifest(state.product, version), baseline_row=baseline_row)
    return state.bundles.write(manifest, tiny_files(state.product, weight=weight, bias=bias))


def write_tiny_folder(
    folder: Path, product: ModelProduct, version: int = 1, *, weight: float = 0.0, bias: float = 0.0
) -> Manifest:
    """The bundle's files in a folder of their own, as an image or a hosted platform pins them."""
    with TemporaryDirectory() as elsewhere:
        state = Workspace(elsewhere).of(product)
        manifest = write_tiny_bundle(state, version, weight=weight, bias=bias)
        with state.bundles.folder(version) as files:
            shutil.copytree(files, folder)
    return manifest


def deploy_tiny(
    state: ProductState,
    version: int = 1,
    *,
    weight: float = 0.0,
    bias: float = 0.0,
    baseline_row: tuple[float, ...] = (),
) -> Deployment:
    """Write the bundle of this version, where it is not there yet, and make it the champion."""
    if version not in state.bundles.versions():
        write_tiny_bundle(state, version, weight=weight, bias=bias, baseline_row=baseline_row)
    return state.ledger.deploy(
        version,
        "2013-04-22",
        datetime.now(UTC),
        reason=f"version {version}",
        by="test",
        after=state.ledger.position(),
    )
