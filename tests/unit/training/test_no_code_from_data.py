"""A run of MLflow, a stored recipe and a stored estimator are data: nothing in them is imported, called or opened that the
product does not declare."""

import functools
import importlib
import os
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.dummy import DummyClassifier

from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.products.candidates import Candidate, gradient_boosting, lightgbm, linear, own
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.records.training import Settings
from mlops_assets.training.fit import fit
from mlops_assets.training.from_run import settings_of_run
from mlops_assets.training.recipe import RECIPE_TAG
from mlops_assets.training.serialization import dumps, dumps_trusted, loads
from tests.unit.training.builders import AlwaysTheSame, a_product, a_training_set

BUILDERS = "tests.unit.training.builders"
PRODUCT = a_product()
MATRIX = np.random.default_rng(1).normal(size=(80, 3)).astype(np.float32)
ONE_ROW = np.array([[1, 2.5]], np.float32)


def recipe_tag(estimator: str, **hyperparameters: str | bool) -> dict[str, str]:
    return {RECIPE_TAG: msgspec.json.encode(Settings("best", estimator, hyperparameters)).decode()}


def test_a_runs_tag_starts_no_process(tmp_path: Path):
    trace = tmp_path / "trace"
    tags = recipe_tag("subprocess:Popen", args=f"touch {trace}", shell=True)

    with pytest.raises(
        DeclarationError, match="subprocess:Popen may not be used: estimators are taken by name only from sklearn"
    ):
        settings_of_run(PRODUCT, "run", {}, tags)
    with pytest.raises(DeclarationError, match="subprocess:Popen may not be used"):
        settings_of_run(
            PRODUCT, "run", {"args": f"touch {trace}", "shell": "True"}, {"estimator_class": "subprocess.Popen"}
        )
    with pytest.raises(DeclarationError, match="os:system may not be used"):
        settings_of_run(PRODUCT, "run", {"estimator": "os:system", "command": f"touch {trace}"}, {})

    assert not trace.exists()


def test_a_stored_recipe_is_no_other_way_in():
    with pytest.raises(DeclarationError, match="builtins:exec may not be used"):
        fit(PRODUCT, Candidate("best", "builtins:exec"), a_training_set(PRODUCT))


def test_no_module_of_a_package_that_is_not_declared_is_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sklearn_extras_of_strangers.py").write_text("class Net:\n    def fit(self, X, y): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()

    with pytest.raises(DeclarationError, match="may not be used"):
        settings_of_run(PRODUCT, "run", {"estimator": "sklearn_extras_of_strangers:Net"}, {})

    assert "sklearn_extras_of_strangers" not in sys.modules


@pytest.mark.parametrize(
    "estimator",
    [
        "sklearn.utils:Bunch",  # no `fit`
        "sklearn.datasets:fetch_openml",  # no class
        "sklearn.utils._metadata_requests:Bunch",
        "lightgbm.compat:LabelEncoder.fit",
    ],
)
def test_of_declared_packages_only_classes_with_fit_are_taken(estimator):
    with pytest.raises(DeclarationError, match=r"not a class with `fit`|cannot be imported"):
        settings_of_run(PRODUCT, "run", {"estimator": estimator}, {})


@pytest.mark.parametrize(
    ("product", "estimator"),
    [
        (PRODUCT, "sklearn.ensemble._forest:ExtraTreesClassifier"),
        (PRODUCT, "lightgbm.sklearn:LGBMClassifier"),
        (a_product(estimator_packages=("tests.unit",)), f"{BUILDERS}:AlwaysTheSame"),
        (a_product(candidates=(own(f"{BUILDERS}:always_the_same"),)), f"{BUILDERS}:always_the_same"),
    ],
)
def test_what_is_declared_is_taken(product: ModelProduct, estimator: str):
    assert settings_of_run(product, "run", {"estimator": estimator}, {}).estimator == estimator


def test_a_class_of_another_package_does_not_come_in_through_a_declared_one():
    product = a_product(estimator_packages=(f"{__name__}",))

    with pytest.raises(DeclarationError, match="not a class with `fit`"):
        settings_of_run(product, "run", {"estimator": f"{__name__}:AlwaysTheSame"}, {})  # imported above


def crafted(command: str) -> bytes:
    """An estimator that runs a command as soon as it is asked for probabilities."""
    estimator = DummyClassifier().fit(MATRIX, MATRIX[:, 0] > 0)
    estimator.predict_proba = functools.partial(max, command, key=os.system)
    return skops.io.dumps(estimator)


def test_a_crafted_estimator_is_refused_by_what_it_holds(tmp_path: Path):
    trace = tmp_path / "trace"

    with pytest.raises(
        BundleError,
        match=r"holds builtins.max, functools.partial, posix.system, which is not trusted: opening it could run",
    ):
        loads(crafted(f"touch {trace}"), PRODUCT).predict_proba(MATRIX)

    assert not trace.exists()


@pytest.mark.parametrize(
    "candidate", [linear(), gradient_boosting(max_iter=2), lightgbm(n_estimators=2)], ids=lambda c: c.name
)
@pytest.mark.parametrize("calibrate", [False, True], ids=["plain", "calibrated"])
def test_every_family_opens_again(candidate: Candidate, calibrate: bool):
    product = a_product(calibrate=calibrate)
    rows = a_training_set(product, rows=120)
    fitted = fit(product, candidate, rows)

    opened = loads(dumps_trusted(fitted.estimator, product), product)

    assert np.array_equal(opened.predict_proba(ONE_ROW), fitted.estimator.predict_proba(ONE_ROW))


@pytest.mark.parametrize(
    "declared", [{"trusted_types": (f"{BUILDERS}.AlwaysTheSame",)}, {"candidates": (own(f"{BUILDERS}:AlwaysTheSame"),)}]
)
def test_a_type_of_ones_own_is_declared(declared):
    with pytest.raises(DeclarationError, match=rf"declare trusted_types=\('{BUILDERS}.AlwaysTheSame',\)"):
        dumps_trusted(AlwaysTheSame(), PRODUCT)

    product = a_product(**declared)
    assert isinstance(loads(dumps_trusted(AlwaysTheSame(), product), product), AlwaysTheSame)
    with pytest.raises(BundleError, match="AlwaysTheSame"):
        loads(dumps(AlwaysTheSame()), PRODUCT)


@pytest.mark.parametrize("declared", [{"estimator_packages": "acme"}, {"trusted_types": ("acme.models:Net",)}])
def test_a_declaration_that_names_nothing_is_refused(declared):
    with pytest.raises(DeclarationError, match="must be a tuple of dotted names"):
        a_product(**declared)


def test_the_task_of_the_product_reaches_a_factory_that_is_declared():
    product = a_product(candidates=(own(f"{BUILDERS}:shallow_tree", depth=1),))

    fitted = fit(product, product.candidates[0], a_training_set(product))

    assert product.task is Task.BINARY
    assert len(set(fitted.scores(a_training_set(product)))) == 2  # a tree of depth 1 has two leaves
