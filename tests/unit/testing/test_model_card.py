"""The model card says what was measured, and what was not."""

import pytest

from mlops_assets.data.labels import LABEL
from mlops_assets.records.testing import WorstSlice
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.gates import judge_report
from mlops_assets.testing.model_card import _table, write_card
from mlops_assets.testing.pages import render_test_report, save_card
from mlops_assets.testing.parity import Parity
from mlops_assets.testing.report import test_model as measure
from tests.unit.testing.builders import a_bundle, a_test_report
from tests.unit.training.builders import a_product, a_training_set, january
from tests.unit.training.test_recipe import a_trial, promoted

PRODUCT = a_product()


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(PRODUCT)


def test_a_card_names_the_version_its_recipe_its_scores_and_its_gates(state):
    manifest = a_bundle(state, 3).manifest
    report = a_test_report(3)
    recipe = promoted(a_trial("first", 0.75, is_tied=True))

    text = save_card(state, manifest, report, judge_report(PRODUCT, report), recipe)

    assert text.startswith(
        "# taxi, version 3\n\nWill a taxi let one wait for more than five minutes? Owner: team:rides."
    )
    assert "| recipe | 1, by team:rides: best roc_auc 0.7500" in text
    assert "| roc_auc | 0.8 | 0.78 to 0.82 |" in text
    assert "There was no champion to compare with." in text
    assert "| roc_auc_at_least_0_6 | yes | roc_auc 0.8 >= 0.6 |" in text
    assert state.reports.read("model_card", "3", "md") == text


def test_a_card_says_which_shift_the_version_learned(state):
    import msgspec

    manifest = a_bundle(state).manifest
    shifted = msgspec.structs.replace(manifest, shift_since="2020-01-03", tested_from=january(6))

    row = "| learned the shift since | 2020-01-03; it was tested on the rows from 2020-01-06 on |"
    assert row in write_card(PRODUCT, shifted, a_test_report(), (), None)
    assert "learned the shift" not in write_card(PRODUCT, manifest, a_test_report(), (), None)


def test_a_worst_slice_is_called_more_than_noise_only_below_one_in_twenty(state):
    import msgspec

    slices = (
        WorstSlice("origin = JFK", 120, "roc_auc", 0.6, 0.2, 0.1, 0.049),
        WorstSlice("distance is null", 110, "roc_auc", 0.7, 0.1, -0.1, 0.05),
        WorstSlice("origin = EWR", 100, "roc_auc", 0.7, 0.1, None, None),
    )
    report = msgspec.structs.replace(a_test_report(), worst_slices=slices, slices_examined=31)

    text = write_card(PRODUCT, a_bundle(state).manifest, report, (), None)

    assert "The worst of 31 examined slices." in text
    assert "| origin = JFK | 120 | 0.6 | 0.2 | 0.049 | yes |" in text
    assert "| distance is null | 110 | 0.7 | 0.1 | 0.05 | no |" in text
    assert "| origin = EWR | 100 | 0.7 | 0.1 | unknown | no |" in text


def test_evidently_draws_the_challenger_beside_the_champion(state, tmp_path):
    rows = a_training_set(PRODUCT).drop_nulls()
    challenger, champion = a_bundle(state, 2, weight=0.5), a_bundle(state, 1)
    report = measure(PRODUCT, challenger, Parity(rows.height, 0.0, 0), champion, rows, None)
    path = tmp_path / "page.html"

    render_test_report(PRODUCT, report, judge_report(PRODUCT, report), challenger, champion, rows, path)

    assert 10_000 < path.stat().st_size < 3_000_000
    assert rows[LABEL].n_unique() == 2


def test_names_of_strangers_are_text_in_a_cell():
    name = "<img src=x onerror=alert(1)>\n| [click](javascript:alert(1))"

    row = _table(("slice",), [(name,)]).splitlines()[-1]

    assert row == r"| &lt;img src=x onerror=alert(1)> / \[click\](javascript:alert(1)) |"
