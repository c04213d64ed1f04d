"""A state that cannot be used, met by the real command in a process of its own: one sentence that names the cause and the
remedy, an exit code, no traceback, and nothing written."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.records import testing as reports
from mlops_assets.state.workspace import Workspace
from tests.servers.read_only import can_mount_read_only, with_read_only
from tests.tiny_bundle import deploy_tiny

ROOT = Path(__file__).parents[3]
PRODUCT, PARTITION = flight_delay.name, "2013-04-22"  # as `deploy_tiny` has it
ROLLBACK = ("rollback", PRODUCT, "--reason", "bad")
SECONDS = 120  # however busy the machine is; a command that hangs fails here


@dataclass(frozen=True)
class Said:
    code: int
    error: str
    output: str


def run(
    *arguments: str,
    state: str,
    home: Path,
    within: Callable[[list[str]], list[str]] = lambda command: command,
    **variables: str,
) -> Said:
    ended = subprocess.run(
        within([sys.executable, "-m", "mlops_assets.cli.command", *arguments]),
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MLOPS_HOME": str(home),
            "MLOPS_STATE": state,
            "MLOPS_PORT": "0",
            **variables,
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Said(ended.returncode, ended.stderr, ended.stdout)


def assert_is_one_sentence(said: Said, cause: str, remedy: str) -> None:
    assert said.code not in (0, None), said
    assert said.error.count("\n") == 1, said.error
    assert cause in said.error, said.error
    assert remedy in said.error, said.error
    assert "Traceback" not in said.error
    assert said.output.strip() == ""


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """A state in a folder, in which versions 1 and 2 were deployed."""
    state = Workspace(tmp_path / "state").of(flight_delay)
    deploy_tiny(state, 1)
    deploy_tiny(state, 2)
    return tmp_path / "state"


@contextmanager
def only_known_keys(endpoint: str) -> Iterator[None]:
    """moto's server refuses credentials that it did not give itself."""
    httpx.post(f"{endpoint}/moto-api/reset-auth", content="0").raise_for_status()
    try:
        yield
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content="Infinity").raise_for_status()


# as people start the API, and as an image does
@pytest.mark.parametrize(
    "arguments", [("history", PRODUCT), ROLLBACK, ("serve",)], ids=["history", "rollback", "serve"]
)
class TestBucket:
    def test_one_that_does_not_exist(self, bucket: str, home: Path, arguments: tuple[str, ...]) -> None:
        said = run(*arguments, state=f"{bucket}-of-nobody/state", home=home)

        assert_is_one_sentence(
            said,
            f"{bucket}-of-nobody/state cannot be used: the bucket does not exist (404 Not Found)",
            "Create it, or name another",
        )
        assert contents_of(home) == {}

    def test_wrong_credentials(self, bucket: str, s3_endpoint: str, home: Path, arguments: tuple[str, ...]) -> None:
        with only_known_keys(s3_endpoint):
            said = run(*arguments, state=f"{bucket}/state", home=home, AWS_SECRET_ACCESS_KEY="Sw0rdf1sh")

        assert_is_one_sentence(
            said,
            f"{bucket}/state cannot be used: its cloud refused the credentials (403 Forbidden)",
            "Check the AWS_ variables",
        )
        assert "Sw0rdf1sh" not in said.error
        assert contents_of(home) == {}


@pytest.mark.parametrize("arguments", [("history", PRODUCT), ("serve",)], ids=["history", "serve"])
def test_an_unknown_scheme(home: Path, arguments: tuple[str, ...]) -> None:
    said = run(*arguments, state="ftp://host/folder", home=home)

    assert_is_one_sentence(
        said, "'ftp://host/folder' is not the address of a folder or bucket", "Give a path, file:///folder, s3://"
    )
    assert contents_of(home) == {}


@pytest.mark.skipif(not can_mount_read_only(), reason="this system lets nobody mount a folder read-only")
def test_a_folder_that_is_not_writable(deployed: Path, home: Path) -> None:
    before = contents_of(deployed)

    said = run(*ROLLBACK, state=str(deployed), home=home, within=lambda command: with_read_only(deployed, command))

    assert_is_one_sentence(said, "Read-only file system", "grant access")
    assert contents_of(deployed) == before


def test_a_full_disk(deployed: Path, home: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if os.getuid() != 0 or subprocess.run(mounting, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount the small disk of this test")
    try:
        said = run("copy", str(deployed), str(small), state="", home=home)

        assert_is_one_sentence(said, "No space left on device", "Free some space")
        # what names a version comes last, so nothing there names what is not there
        assert Workspace(small).of(flight_delay).ledger.history() == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_record_of_a_newer_release(deployed: Path, home: Path) -> None:
    state = Workspace(deployed).of(flight_delay)
    name = f"records/{PRODUCT}/{reports.TestReport.asset}/{PARTITION}.json"
    state.workspace.objects.put(name, b'{"schema": 99, "what": "nobody knows yet"}')

    said = run("why", PRODUCT, state=str(deployed), home=home)

    assert_is_one_sentence(
        said, f"{reports.TestReport.asset}/{PARTITION}.json was written by a newer release", "install the newer release"
    )
    assert state.workspace.objects.get(name) == b'{"schema": 99, "what": "nobody knows yet"}'


@pytest.mark.parametrize(
    ("number", "content", "cause"),
    [(1, None, "entry 1 of the ledger"), (1, b"{}", "entry 1 of the ledger"), (2, None, "the ledger")],
    ids=["a gap", "a changed entry", "its end removed"],
)
@pytest.mark.parametrize("arguments", [("history", PRODUCT, "--verify"), ROLLBACK], ids=["history", "rollback"])
def test_a_ledger_that_was_tampered_with(
    deployed: Path, home: Path, number: int, content: bytes | None, cause: str, arguments: tuple[str, ...]
) -> None:
    objects = Workspace(deployed).objects
    name = f"ledger/{PRODUCT}/{number:06d}.json"
    objects.delete(name)
    if content is not None:
        objects.put(name, content)
    before = contents_of(deployed)

    said = run(*arguments, state=str(deployed), home=home)

    assert_is_one_sentence(said, cause, "Restore it from a copy of the state")
    assert contents_of(deployed) == before


@pytest.mark.parametrize("arguments", [("history", PRODUCT), ("serve",)], ids=["history", "serve"])
def test_a_state_of_the_former_layout(home: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    former = tmp_path / "former"
    former.mkdir()
    (former / "deployments.sqlite").write_bytes(b"a ledger of before")

    said = run(*arguments, state=str(former), home=home)

    assert_is_one_sentence(said, f"{former} was written by an earlier release", "name another folder")
    assert contents_of(former) == {str(former / "deployments.sqlite"): b"a ledger of before"}


def test_the_origin_of_a_version_is_printed_in_whole_lines(deployed: Path, home: Path) -> None:
    printed = run("why", PRODUCT, "2", state=str(deployed), home=home)  # into a pipe, which counts as 80 columns wide

    link = f"http://127.0.0.1:3000/assets/{PRODUCT}/staging_report?partition={PARTITION}"
    assert f"staging_report {PARTITION}  {link}" in [line[4:] for line in printed.output.splitlines()]
