"""Every command with every variable wrong: one sentence that names it, an exit code, nothing written, no traceback."""

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from examples.flights.flight_delay import flight_delay
from mlops_assets.cli.app import app
from mlops_assets.cli.command import main
from mlops_assets.state.workspace import ProductState, Workspace
from tests.tiny_bundle import deploy_tiny

PRODUCT = "flight_delay"
# of each command, arguments with which it would do something
ARGUMENTS = {
    "approve": [PRODUCT, "1", "--by", "ana", "--note", "fine"],
    "reject": [PRODUCT, "1", "--by", "ana", "--reason", "bad"],
    "sign": [PRODUCT, "1"],
    "retry": [PRODUCT, "2013-07-01"],
    "skip": [PRODUCT, "2013-07-01", "--reason", "lost"],
    "history": [PRODUCT],
    "served": [PRODUCT, "--at", "2013-07-04"],
    "clock": ["2013-07-04"],
    "rollback": [PRODUCT, "--reason", "bad"],
    "why": [PRODUCT],
    "reproduce": [PRODUCT, "1"],
    "recipe promote": ["0123456789abcdef", "--by", "ana", "--why", "better"],
    "up": [],
    "serve": [],
    "report": [PRODUCT, "2013-07-01"],
    "backtest": [PRODUCT],
    "clean": [PRODUCT, "--dry-run"],
    "check": [PRODUCT],
    "replay": [PRODUCT, "--until-champion"],
    "materialize": [PRODUCT, "raw", "--partition", "2013-07-01"],
    "train": [PRODUCT],
    "experiment": [PRODUCT],
}
# the demo leaves aside what is set for another installation, a copy is told both places, and a new product needs none
WITHOUT_VARIABLES = {"products", "demo", "copy", "new"}
MAKE_A_HOME = {"up", "serve", "replay", "materialize", "check"}  # or need none
SECRET = "Sw0rdf1sh"
# (variable, value, what the sentence says of the value); {file} is a file, {nothing} does not exist
WRONG = [
    ("MLOPS_HOME", "{file}", "{file}"),
    ("MLOPS_HOME", "{file}/below", "is not a folder"),
    ("MLOPS_STATE", "{file}/below", "is not a folder"),
    (
        "MLOPS_STATE",
        "ftp://host/folder",
        "'ftp://host/folder' is not the address of a folder or bucket. Give a path, file:///folder, s3://",
    ),
    ("MLOPS_STATE", "s3://", "'s3://'"),
    ("MLOPS_STATE", f"s3://key:{SECRET}@bucket/folder", "the address s3://bucket/folder contains a key or a password"),
    (
        "MLOPS_OFFLINE_STORE",
        "s3://bucket/folder",
        "was removed: tables are part of the state now. Set MLOPS_STATE instead",
    ),
    (
        "MLOPS_ONLINE_STORE",
        f"mysql://ana:{SECRET}@host/d",
        "'mysql://host/d', which is not an online store. Give a file",
    ),
    ("MLOPS_ONLINE_STORE", f"redis://:{SECRET}/x@host", "Write @ as %40"),
    ("MLOPS_OPTUNA_STORAGE", f"redis://:{SECRET}@host", "'redis://host', which is not a database"),
    ("MLOPS_KEEP", "predictions", "MLOPS_KEEP"),
    ("MLOPS_MLFLOW_TRACKING", "nonsense", "'nonsense', in which MLflow cannot register models"),
    ("MLOPS_MLFLOW_TRACKING", "./mlruns", "sqlite://, postgresql://"),
    ("MLOPS_MLFLOW_TRACKING", f"redis://:{SECRET}@host", "'redis://host'"),
    ("MLOPS_MLFLOW_TRACKING", f"postgresql://u:{SECRET}/x@host/d", "Write @ as %40"),
    (
        "MLOPS_API_URL",
        "localhost:8000",
        "'localhost:8000', which is not the address of a web server. Give one such as http://127",
    ),
    ("MLOPS_API_URL", "http://", "'http://'"),
    ("MLOPS_API_URL", "http://host:99999", "http://host:99999"),
    ("MLOPS_API_URL", f"http://ana:{SECRET}@host", "'http://host' with a login"),
    ("MLOPS_MLFLOW_URL", "http://[", "is not the address of a web server"),
    ("MLOPS_WEBHOOK_URL", f"hooks.example.com/{SECRET}", "Give one such as https://host/path"),
    ("MLOPS_NOTIFY_URLS", f"log://x {SECRET}", "number 2 of 2 is not an address"),
    ("MLOPS_SENSORS", "flight_dely", "Known: air_time, all, flight_delay. Did you mean 'flight_delay'?"),
    ("MLOPS_ENGINE", "duckdb", "Known: polars, spark."),
    (
        "MLOPS_SPARK_MASTER",
        "spark://host",
        "'spark://host', which is not a Spark master. Give local[2], spark://host:7077",
    ),
    ("MLOPS_APPROVAL_KEY", SECRET, "has 9 bytes; it needs 16. Create one with: openssl rand -hex 32"),
    ("DAGSTER_HOME", "var/dagster", "'var/dagster', which is not the absolute path of a folder"),
    ("DAGSTER_HOME", "{file}", "is not the absolute path of a folder"),
    ("DAGSTER_HOME", "{nothing}", "is not the absolute path of a folder"),
]


def names_of(commands: App, before: str = "") -> Iterator[str]:
    for name in commands:
        if not name.startswith("-"):
            inner = list(names_of(commands[name], f"{before}{name} "))
            yield from inner or [f"{before}{name}"]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployed")
    state = Workspace(folder).of(flight_delay)
    deploy_tiny(state, 1)
    deploy_tiny(state, 2)
    return folder


@pytest.fixture
def state(deployed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProductState:
    """Versions 1 and 2 of a product served, and the environment names their home."""
    home = tmp_path / "home"
    shutil.copytree(deployed, home)
    monkeypatch.setenv("MLOPS_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return Workspace(home).of(flight_delay)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    former = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, former)


def everything_below(folder: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.stat() for path in folder.rglob("*")}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mlops", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_every_command_is_tried():
    assert set(names_of(app)) == {*ARGUMENTS, *WITHOUT_VARIABLES}


@pytest.mark.parametrize(("variable", "value", "says"), WRONG, ids=[f"{name}={value}" for name, value, _ in WRONG])
@pytest.mark.parametrize("command", ARGUMENTS)
@pytest.mark.usefixtures("state")
def test_a_wrong_variable_is_one_sentence_and_changes_nothing(
    command: str,
    variable: str,
    value: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    places = {"file": tmp_path / "file", "nothing": tmp_path / "nothing"}
    places["file"].write_text("no folder")
    monkeypatch.setenv(variable, value.format(**places))
    before = everything_below(tmp_path)

    code = run(monkeypatch, *command.split(), *ARGUMENTS[command])

    said = capsys.readouterr()
    assert code == 1
    assert (variable in said.err, says.format(**places) in said.err) == (True, True), said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert SECRET not in said.err
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("command", [name for name in ARGUMENTS if name not in MAKE_A_HOME])
@pytest.mark.parametrize("is_option", [True, False], ids=["--home", "MLOPS_HOME"])
def test_a_home_that_does_not_exist_is_said_and_not_made(
    command: str,
    is_option: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    nothing = tmp_path / "nothing"
    monkeypatch.chdir(tmp_path)
    if not is_option:
        monkeypatch.setenv("MLOPS_HOME", str(nothing))

    code = run(monkeypatch, *command.split(), *ARGUMENTS[command], *(["--home", str(nothing)] if is_option else []))

    assert code == 1
    assert (
        f"there is no state at {nothing}. `mlops replay` and `mlops up` create one; name another one with --home"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["up"], ["demo"], ["replay", PRODUCT]], ids=["up", "demo", "replay"])
@pytest.mark.parametrize("place", ["/proc/home", "{file}", "{file}/below"])
def test_a_home_that_cannot_be_made_is_said(
    command: list[str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.chdir(tmp_path)

    code = run(monkeypatch, *command, "--home", place.format(file=tmp_path / "file"))

    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (1, 1)
    assert place.format(file=tmp_path / "file") in said
    assert "--home or MLOPS_HOME" in said


@pytest.mark.parametrize("content", ["storage: [", "storage: {no_such_store: {}}", "run_launcher: 7"])
@pytest.mark.parametrize("command", ["why", "rollback"])
@pytest.mark.usefixtures("state")
def test_an_instance_of_dagster_that_cannot_be_opened_is_said(
    command: str,
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(content)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))

    code = run(monkeypatch, *command.split(), *ARGUMENTS[command])

    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (1, 1), said
    assert f"Dagster's instance in {tmp_path / 'dagster'} cannot be opened: " in said


@pytest.mark.parametrize(
    ("number", "content", "says"),
    [(2, b"no json", "entry 2 of the ledger of flight_delay"), (1, None, "entry 1 of the ledger of flight_delay")],
    ids=["unreadable", "missing"],
)
@pytest.mark.parametrize("command", ["history", "served", "rollback", "why", "backtest"])
def test_a_damaged_ledger_is_one_sentence(
    command: str,
    number: int,
    content: bytes | None,
    says: str,
    state: ProductState,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    name = f"ledger/{PRODUCT}/{number:06d}.json"
    state.workspace.objects.delete(name)
    if content is not None:
        state.workspace.objects.put(name, content)

    code = run(monkeypatch, command, *ARGUMENTS[command])

    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (1, 1), said
    assert says in said
    assert "Restore it from a copy of the state" in said


@pytest.mark.parametrize("command", ["history", "rollback", "up", "serve"])
def test_a_home_of_an_earlier_release_is_left_alone_and_said(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "deployments.sqlite").write_bytes(b"a ledger of before")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    before = everything_below(tmp_path)

    code = run(monkeypatch, command, *ARGUMENTS[command])

    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (1, 1), said
    assert f"{tmp_path} was written by an earlier release, which stored its history in deployments.sqlite" in said
    assert "name another folder with --home or MLOPS_HOME" in said
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("command", ["history", "rollback"])
def test_a_bucket_that_does_not_exist_is_one_sentence(
    command: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_STATE", f"{bucket}-of-nobody/state")

    code = run(monkeypatch, command, *ARGUMENTS[command])

    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (1, 1), said
    assert f"{bucket}-of-nobody/state cannot be used: the bucket does not exist" in said


def test_an_error_that_nobody_foresaw_is_a_sentence_that_says_where_the_trace_is(
    state: ProductState, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    home = state.workspace.home
    monkeypatch.setattr("tempfile.tempdir", str(home))
    state.workspace.objects.put("clock.txt", b"no moment")

    code = run(monkeypatch, "rollback", *ARGUMENTS["rollback"])

    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (1, 1), said
    (trace,) = home.glob("mlops-*.log")
    assert said.startswith("Unexpected: ValueError: Invalid isoformat string: 'no moment'.")
    assert f"see {trace}." in said
    assert "Traceback" in trace.read_text()
