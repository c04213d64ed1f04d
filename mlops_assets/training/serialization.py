"""Serialises estimators without pickle; the same estimator gives the same bytes."""

import io
import re
import zipfile
from typing import Any

from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.products.product import ModelProduct

FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip file


# what estimators of scikit-learn and LightGBM hold beside the types that skops trusts by itself
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

    Raises BundleError: it holds a type that is neither on the list nor declared."""
    import skops.io

    if unknown := _unknown_types(content, product):
        raise BundleError(
            f"the estimator of {product.name} holds {', '.join(unknown)}, which is not trusted: opening it could run somebody else's "
            "code. If it is yours, declare trusted_types=(…,) in the product; otherwise find out who wrote the bundle."
        )
    return skops.io.loads(content, trusted=sorted(_trusted(product)))


def dumps_trusted(estimator: object, product: ModelProduct) -> bytes:
    """`dumps`, for an estimator that `loads` accepts. Raises DeclarationError: it would refuse this one."""
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
    named = (name.replace(":", ".") for name in product.declared_estimators if ":" in name)
    return TRUSTED | {*product.trusted_types, *named}


def dumps(estimator: object) -> bytes:
    """skops' format, without what differs from run to run: memory addresses that it uses as names, and the time."""
    import skops.io

    made = zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator)))
    schema = made.read("schema.json").decode()
    names: dict[str, str] = {}
    for found in re.finditer(r'"__id__": (\d+)|"file": "(\d+)\.', schema):
        names.setdefault(found[1] or found[2], str(len(names) + 1))
    schema = re.sub(r'("__id__": )(\d+)', lambda found: found[1] + names[found[2]], schema)
    schema = re.sub(r'("file": ")(\d+)(\.)', lambda found: found[1] + names[found[2]] + found[3], schema)
    held = {"schema.json": schema.encode()}
    for name in made.namelist():
        stem, _, suffix = name.partition(".")
        if name != "schema.json":
            held[f"{names.get(stem, stem)}.{suffix}"] = made.read(name)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(held):
            archive.writestr(zipfile.ZipInfo(name, FIRST_DAY), held[name], zipfile.ZIP_DEFLATED)
    return written.getvalue()
