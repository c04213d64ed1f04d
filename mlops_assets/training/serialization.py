"""Serializes estimators without pickle, so that the same estimator has the same bytes."""

import io
import re
import zipfile
from typing import Any

from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.products.product import ModelProduct

FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can hold


# types in estimators of scikit-learn and LightGBM that skops does not trust by default
TRUSTED = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
    }
)


def loads(content: bytes, product: ModelProduct) -> Any:
    """The estimator. No object is created unless every type in it is trusted.

    Raises BundleError if it holds a type that is neither in TRUSTED nor declared by the product."""
    import skops.io

    if unknown := _unknown_types(content, product):
        raise BundleError(
            f"the estimator of {product.name} holds {', '.join(unknown)}, which is not trusted: opening it could run somebody else's "
            "code. If it is yours, declare trusted_types=(…,) in the product; otherwise find out who wrote the bundle."
        )
    return skops.io.loads(content, trusted=sorted(_trusted(product)))


def dumps_trusted(estimator: object, product: ModelProduct) -> bytes:
    """`dumps`, checked to be accepted by `loads`. Raises DeclarationError if `loads` would refuse the estimator."""
    content = dumps(estimator)
    if unknown := _unknown_types(content, product):
        raise DeclarationError(
            f"{product.name}: the estimator holds {', '.join(unknown)}, which is not known to be safe to open again. If it is "
            f"yours, declare trusted_types=({', '.join(map(repr, unknown))},) in the product."
        )
    return content


def _unknown_types(content: bytes, product: ModelProduct) -> list[str]:
    import skops.io

    return sorted({*skops.io.get_untrusted_types(data=content)} - _trusted(product))


def _trusted(product: ModelProduct) -> frozenset[str]:
    estimators = (name.replace(":", ".") for name in product.declared_estimators if ":" in name)
    return TRUSTED | {*product.trusted_types, *estimators}


def dumps(estimator: object) -> bytes:
    """skops' format without what differs between runs: the time, and memory addresses that skops uses as names."""
    import skops.io

    dumped = zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator)))
    schema = dumped.read("schema.json").decode()
    names: dict[str, str] = {}
    for match in re.finditer(r'"__id__": (\d+)|"file": "(\d+)\.', schema):
        names.setdefault(match[1] or match[2], str(len(names) + 1))
    schema = re.sub(r'("__id__": )(\d+)', lambda match: match[1] + names[match[2]], schema)
    schema = re.sub(r'("file": ")(\d+)(\.)', lambda match: match[1] + names[match[2]] + match[3], schema)
    files = {"schema.json": schema.encode()}
    for name in dumped.namelist():
        stem, _, suffix = name.partition(".")
        if name != "schema.json":
            files[f"{names.get(stem, stem)}.{suffix}"] = dumped.read(name)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, FIRST_DAY), files[name], zipfile.ZIP_DEFLATED)
    return written.getvalue()
