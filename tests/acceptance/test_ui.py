"""What people see: the asset graph and the API page, in a real browser."""

import shutil
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from examples.flights.catalog import CATALOG
from mlops_assets.servers.platform import prepare
from mlops_assets.servers.processes import Servers, free_port
from mlops_assets.state.workspace import Workspace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install the package chromium"),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser.new_page(viewport={"width": 1800, "height": 1000})
        browser.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    workspace = Workspace(tmp_path_factory.mktemp("ui") / "home")
    prepare(workspace)
    ports = {"webserver": free_port(3100, print), "api": free_port(8100, print)}
    environment = {
        "DAGSTER_HOME": str(workspace.dagster_home),
        "MLOPS_HOME": str(workspace.home),
        "MLOPS_PORT": str(ports["api"]),
    }
    with Servers(workspace.home / "logs", environment) as running:
        command = [
            "dagster_webserver",
            "--host",
            "127.0.0.1",
            "--port",
            str(ports["webserver"]),
            "-w",
            "workspace.yaml",
        ]
        webserver = running.start("webserver", command, ports["webserver"], signal.SIGINT)
        api = running.start("api", ["serving"], ports["api"], signal.SIGTERM)
        running.wait_for(webserver, "/server_info", 90, print)
        running.wait_for(api, "/health/live", 60, print)
        yield {"webserver": webserver.address, "api": api.address}


@pytest.mark.parametrize("product", CATALOG, ids=lambda product: product.name)
def test_the_asset_graph_shows_every_pipeline_of_a_product(page, servers, product):
    page.goto(f"{servers['webserver']}/asset-groups")

    for pipeline in ("data", "training", "testing", "inference", "monitoring"):
        expect(page.get_by_text(f"{product.name}_{pipeline}", exact=True).first).to_be_visible(timeout=30_000)


def test_nothing_asks_the_user_to_sign_up(page, servers):
    page.goto(f"{servers['webserver']}/asset-groups")
    expect(page.get_by_text("flight_delay_data", exact=True).first).to_be_visible(timeout=30_000)

    assert page.get_by_text("Join the Dagster community").count() == 0


def test_an_asset_page_shows_owner_kinds_and_description(page, servers):
    page.goto(f"{servers['webserver']}/assets/flight_delay/model?view=overview")

    expect(page.get_by_text("A version trained with the newest recipe").first).to_be_visible(timeout=30_000)
    expect(page.get_by_text("flights").first).to_be_visible()
    expect(page.get_by_text("declaration").first).to_be_visible()


def test_the_api_page_shows_the_products_own_columns_without_internet(page, servers):
    page.goto(f"{servers['api']}/schema")
    page.get_by_text("/v1/models/flight_delay/predict").first.click()

    for name in ("scheduled_departure", "aircraft_year", "wind_speed"):
        expect(page.get_by_text(name).first).to_be_visible()
