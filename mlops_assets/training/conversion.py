"""Converts estimators to ONNX models with one input, the float32 matrix `inputs` (n, d), and one output, `scores`."""

import copy
import importlib
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlops_assets.addresses import reason
from mlops_assets.errors import NotConvertible
from mlops_assets.products.task import Task
from mlops_assets.training.candidates import Estimator

if TYPE_CHECKING:
    import lightgbm

# the newest opset that skl2onnx 1.20 and onnxmltools 1.16 both write
OPSET = 15
TREES_IN_GROUP = 10  # trees of a LightGBM regressor whose float32 sum is then added in float64


def to_onnx(estimator: Estimator, task: Task, width: int, converter: str = "") -> bytes:
    """Convert a fitted estimator. `scores` is (n, classes) probabilities, or (n, 1) predictions. converter: the
    "package.module:function" that the product declares for it.

    Raises NotConvertible, with the reason of the converter, if it cannot be converted."""
    if converter:
        return _convert_by(converter, estimator, task, width)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # converters warn about their own internals
            model = _convert(estimator, task, width)
    except Exception as error:  # converters raise errors of any type, and all mean the same here
        raise NotConvertible(
            f"{type(estimator).__name__} cannot become ONNX: {error}. Use an estimator of scikit-learn or LightGBM that "
            "skl2onnx or onnxmltools converts, or declare a converter of your own (to_onnx)."
        ) from error
    output = model.graph.output[-1].name if task is Task.REGRESSION else _probabilities(model)
    return _serialized(estimator, model, output)


def _convert_by(converter: str, estimator: Estimator, task: Task, width: int) -> bytes:
    """Convert with the user's function, and try the model on two rows."""
    import onnxruntime

    module, _, name = converter.partition(":")
    classes = len(getattr(estimator, "classes_", ())) or 2
    expected = (2, 1) if task is Task.REGRESSION else (2, classes)
    try:
        model = getattr(importlib.import_module(module), name)(estimator, task, width)
        if (len(model.graph.input), len(model.graph.output)) != (1, 1):
            raise ValueError(
                f"it has {len(model.graph.input)} inputs and {len(model.graph.output)} outputs, not one of each"
            )
        _rename(model, model.graph.input[0].name, "inputs")
        content = _serialized(estimator, model, model.graph.output[0].name)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (scores,) = session.run(["scores"], {"inputs": np.zeros((2, width), dtype=np.float32)})
        if scores.shape != expected:
            raise ValueError(f"it answers {scores.shape} to two rows of {width} inputs, not {expected}")
    except Exception as error:  # the user's function may raise any error
        raise NotConvertible(
            f"{converter} does not convert {type(estimator).__name__} to ONNX: {reason(error, lines=1)}. It has to take the estimator, "
            "the Task and the number of inputs, and return an onnx.ModelProto with one float32 input and one output."
        ) from error
    return content


def _serialized(estimator: Estimator, model, output: str) -> bytes:  # type: ignore[no-untyped-def] # ModelProto has no stubs
    """The bytes of the model, reduced to this output under the name `scores`. The same model always has the same bytes."""
    import onnx

    _rename(model, output, "scores")
    scores = [value for value in model.graph.output if value.name == "scores"]
    del model.graph.output[:]
    model.graph.output.extend(scores)
    # converters draw a random name, and list operator sets in the order of a hash
    model.graph.name = type(estimator).__name__
    operator_sets = sorted(model.opset_import, key=lambda item: str(item.domain))
    del model.opset_import[:]
    model.opset_import.extend(operator_sets)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def largest_difference(
    estimated: NDArray[np.float64], converted: NDArray[np.float64], task: Task, usual: float = 1.0
) -> float:
    """Absolute for probabilities; for predictions relative to the largest one, or to `usual` if that is larger."""
    if not len(estimated):
        return 0.0
    difference = float(np.max(np.abs(estimated - converted)))
    return difference / max(usual, float(np.max(np.abs(estimated)))) if task is Task.REGRESSION else difference


def _convert(estimator: Estimator, task: Task, width: int):  # type: ignore[no-untyped-def] # ModelProto has no stubs
    if type(estimator).__module__.startswith("lightgbm"):
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType as LightgbmFloats

        booster = estimator.booster_  # type: ignore[attr-defined] # every fitted LightGBM has one
        # a sum of many float32 leaves drifts, so groups are summed; onnxmltools fails with a single group
        in_groups = task is Task.REGRESSION and booster.num_trees() > TREES_IN_GROUP
        return convert_lightgbm(
            _with_float32_thresholds(booster),
            initial_types=[("inputs", LightgbmFloats([None, width]))],
            zipmap=False,
            target_opset=OPSET,
            split=TREES_IN_GROUP if in_groups else None,
        )
    if type(estimator).__name__ in ("DummyClassifier", "DummyRegressor"):
        estimator = _constant_tree(estimator, width)
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    estimator = _with_float32_splits(estimator)
    options = None if task is Task.REGRESSION else {id(estimator): {"zipmap": False}}
    return convert_sklearn(
        estimator, initial_types=[("inputs", FloatTensorType([None, width]))], options=options, target_opset=OPSET
    )


def _constant_tree(estimator: Estimator, width: int) -> Estimator:
    """A tree of one leaf that predicts what the dummy predicts, because skl2onnx has no converter for dummies."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    row = np.zeros((1, width), dtype=np.float32)
    if type(estimator).__name__ == "DummyRegressor":
        return DecisionTreeRegressor().fit(row, estimator.predict(row))  # type: ignore[no-any-return]
    (shares,) = estimator.predict_proba(row)  # type: ignore[attr-defined] # every classifier of scikit-learn's has it
    return DecisionTreeClassifier().fit(  # type: ignore[no-any-return]
        row.repeat(len(shares), axis=0),
        estimator.classes_,  # type: ignore[attr-defined]
        sample_weight=shares,
    )


def _with_float32_thresholds(booster: "lightgbm.Booster") -> "lightgbm.Booster":
    """The same trees with thresholds rounded down to float32.

    LightGBM compares in float64, ONNX in float32. A threshold that is rounded up sends the next float32 value to the other
    side (one row in 11,000 moved by 0.08 min). For float32 inputs, x <= t and x <= floor32(t) are equivalent.
    """
    import lightgbm

    trees = [_tree_with_float32_thresholds(block) for block in booster.model_to_string().split("\n\n")]
    # the sizes of the blocks changed; without this line LightGBM parses the blocks itself
    text = re.sub(r"^tree_sizes=.*\n", "", "\n\n".join(trees), flags=re.MULTILINE)
    return lightgbm.Booster(model_str=text)


def _tree_with_float32_thresholds(block: str) -> str:
    thresholds = re.search(r"^threshold=(.*)$", block, re.MULTILINE)
    decisions = re.search(r"^decision_type=(.*)$", block, re.MULTILINE)
    if thresholds is None or decisions is None:
        return block
    rounded = [  # bit 0 of a decision: a split by categories, whose threshold is an index
        threshold if int(decision) & 1 else repr(float(_floor32(np.array(float(threshold)))))
        for threshold, decision in zip(thresholds[1].split(), decisions[1].split(), strict=True)
    ]
    return block.replace(thresholds[0], "threshold=" + " ".join(rounded))


def _with_float32_splits(estimator: Estimator) -> Estimator:
    """The same for scikit-learn's histogram gradient boosting, whose thresholds skl2onnx also rounds to nearest."""
    if not type(estimator).__name__.startswith("HistGradientBoosting"):
        return estimator
    rounded = copy.deepcopy(estimator)
    for trees in rounded._predictors:  # type: ignore[attr-defined] # skl2onnx reads the trees there as well
        for tree in trees:
            tree.nodes["num_threshold"] = _floor32(tree.nodes["num_threshold"])
    return rounded


def _floor32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    nearest = values.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.asarray(np.where(nearest.astype(np.float64) <= values, nearest, below), dtype=np.float32)


def _probabilities(model) -> str:  # type: ignore[no-untyped-def] # ModelProto has no stubs
    names: list[str] = [output.name for output in model.graph.output]
    return next(name for name in names if "prob" in name)


def _rename(model, old: str, new: str) -> None:  # type: ignore[no-untyped-def] # ModelProto has no stubs
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new
