"""What every unit test may ask for: an empty workspace in a folder of its own, and every place that can hold a state."""

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from mlops_assets.state.objects import Objects, objects_at
from mlops_assets.state.workspace import Workspace

BACK_ENDS: dict[str, Callable[[pytest.FixtureRequest], Path | str]] = {
    "folder": lambda request: request.getfixturevalue("tmp_path") / "state",
    "s3": lambda request: f"{request.getfixturevalue('bucket')}/state",
    # buckets that are there already, real ones or of an emulator, by space; their clouds' variables say the rest
    **{
        address: lambda _request, address=address: f"{address}/{uuid4().hex}"
        for address in os.environ.get("MLOPS_TEST_BUCKETS", "").split()
    },
}

# their processes, servers or fits take seconds each, and `make fast` leaves them out
SLOW_FILES = {
    *(
        "test_killed",
        "test_logs_of_processes",
        "test_bundle_writers",
        "test_processes",
        "test_staging",
        "test_bad_states",
    ),
    *(
        "test_edge_cases",
        "test_public_data",
        "test_source_text",
        "test_origins",
        "test_tuning",
        "test_conversion",
        "test_reports",
        "test_remembered",
        "test_model_card",
        "test_checking",
        "test_outlook",
        "test_sql_source",
        "test_supervisor",
        "test_file_cache",
        "test_label_log",
        "test_search",
    ),
    *("test_copying", "test_prediction_log", "test_wrong_variables", "test_new", "test_metrics", "test_addresses"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        is_on_a_bucket = "[s3" in item.name or "bucket" in getattr(item, "fixturenames", ())
        if item.path.is_relative_to(here) and (is_on_a_bucket or item.path.stem in SLOW_FILES):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture(params=BACK_ENDS)
def objects(request: pytest.FixtureRequest) -> Objects:
    """A new, empty place for objects. Another process reaches the same one by `objects_at(objects.url)`."""
    return objects_at(BACK_ENDS[request.param](request))
