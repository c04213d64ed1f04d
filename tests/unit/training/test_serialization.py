"""An estimator at rest: the same to the byte for the same estimator, and still the estimator."""

import io
import time
import zipfile

import numpy as np
import skops.io

from mlops_assets.products.task import Task
from mlops_assets.training.serialization import dumps
from tests.unit.training.builders import shallow_tree

MATRIX = np.random.default_rng(1).normal(size=(80, 3)).astype(np.float32)


def fitted():
    return shallow_tree(Task.BINARY).fit(MATRIX, (MATRIX[:, 0] > 0).astype(float))


def test_the_same_estimator_has_the_same_bytes():
    first, second = dumps(fitted()), dumps(fitted())

    assert first == second
    assert time.localtime()[:1] not in [info.date_time[:1] for info in zipfile.ZipFile(io.BytesIO(first)).infolist()]


def test_it_opens_as_what_it_was():
    content = dumps(fitted())

    opened = skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))

    assert np.array_equal(opened.predict_proba(MATRIX), fitted().predict_proba(MATRIX))


def test_another_estimator_has_other_bytes():
    assert dumps(fitted()) != dumps(shallow_tree(Task.BINARY, depth=1).fit(MATRIX, (MATRIX[:, 0] > 0).astype(float)))
