"""Reports with names that strangers chose, in a real browser: no script of theirs runs, and the report is drawn."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from examples.flights.catalog import CATALOG
from mlops_assets.drift.reading import measure_drift
from mlops_assets.drift.reference import build_reference
from mlops_assets.monitoring.reports import render_drift_report
from mlops_assets.products.catalog import product_named
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.state.workspace import Workspace
from tests.acceptance.test_ui import CHROMIUM, QUIET
from tests.serving.running_api import RunningServer, a_server
from tests.tiny_bundle import deploy_tiny

PRODUCT = product_named("flight_delay")
# what each would do: say that it ran, and take what the API answers to this page's origin
DEED = "document.title='taken';fetch('/v1/models').then(r=>r.text()).then(t=>{document.title='taken '+t.length})"
NAMES = (
    f"</script><script>{DEED}</script>",
    f'<img src=x onerror="{DEED}">',
    f"<!--<script>{DEED}</script>",
    f"<svg onload={DEED}>",
)
HOSTILE, CARELESS = (f"reports/{PRODUCT.name}/data_drift/{name}.html" for name in ("hostile", "careless"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="no Chromium on this machine: install the package chromium"
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """An API that serves the report of such names, and a page that was written without any care."""
    workspace = Workspace(tmp_path_factory.mktemp("reports") / "home")
    for product in CATALOG:
        deploy_tiny(workspace.of(product))
    reports = workspace.of(PRODUCT).reports
    with reports.replacing("data_drift", "hostile") as page:
        render_hostile(page)
    careless = f"<!DOCTYPE html><title>report</title><p>{''.join(NAMES[:2])}<p id=end>end"
    reports.save("data_drift", "careless", careless)
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output) as running:
        yield running


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser.new_page(viewport={"width": 1400, "height": 2000})
        browser.close()


def render_hostile(path: Path) -> None:
    reference, current = (features(600, seed) for seed in (1, 2))
    profile = build_reference(reference, PRODUCT.inputs, pl.Series([str(row % 3) for row in range(600)]))
    reading = measure_drift(profile, current, min_rows=100)
    noted = [msgspec.structs.replace(feature, note=" ".join(NAMES)) for feature in reading.features]
    reading = msgspec.structs.replace(reading, reason=" ".join(NAMES), features=noted)
    render_drift_report(reference, current, PRODUCT, reading, str(path))


def features(rows: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            feature.name: draw.normal(10, 3, rows)
            if feature.kind is FeatureKind.NUMERIC
            else draw.choice([*NAMES, "EWR"], rows)
            for feature in PRODUCT.inputs
        }
    )


def test_no_name_in_a_report_is_run_and_the_report_is_drawn(page: Page, server: RunningServer) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(f"{server.address}/{HOSTILE}")
    expect(page.get_by_text("percent of rows that moved").first).to_be_visible(timeout=30_000)
    expect(page.get_by_text("</script><script>").first).to_be_visible()
    page.locator("button[aria-label='Detail panel visibility toggle']").first.click()
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=30_000)

    assert not page.title().startswith("taken")
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [f"{server.address}/{HOSTILE}"]


def test_a_script_in_a_careless_page_has_no_hold_of_the_api(page: Page, server: RunningServer) -> None:
    page.goto(f"{server.address}/{CARELESS}")
    expect(page.locator("#end")).to_be_visible()

    assert page.title() == "taken"  # it ran
    assert page.evaluate("window.origin") == "null"
    reached = "fetch('/v1/models').then(() => 'reached', () => 'refused')"
    assert page.evaluate(reached) == "refused"
    assert page.title() == "taken"
