"""Damaged and malicious files: one sentence that names the file and its fault, no panic, no hang, bounded memory."""

import gzip
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.errors import ContractBroken, SourceError
from tests.unit.sources.test_file_source import AS_TEXT, GOOD, HEADER, ROWS, WEEK, files, read, write

OTHER = GOOD.replace("1,", "2,", 1)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_loop(path: Path) -> None:
    path.symlink_to(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "is a folder. Deliver a file there"),
        (a_pipe, "is a pipe"),
        (a_loop, "is a broken link"),
        (a_device, "is a device"),
    ],
    ids=["folder", "pipe", "loop", "device"],
)
@pytest.mark.parametrize("ending", ["csv", "parquet", "ndjson"])
def test_what_is_no_file_is_named_and_not_waited_for(
    tmp_path: Path, ending: str, make: Callable[[Path], None], said: str
):
    make(tmp_path / f"a.{ending}")

    with pytest.raises(SourceError, match=rf"a\.{ending} {said}"):
        read(tmp_path / f"a.{ending}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + GOOD + OTHER.replace("EWR", "E\0R"), "has a NUL byte in line 3, .* Deliver it again"),
        ((HEADER + GOOD).encode("utf-16"), "is UTF-16. Write it as UTF-8"),
        ((HEADER + GOOD).encode() + b"\xff\xfe\n", "is not UTF-8: byte 0xff in line 3"),
        ((HEADER + GOOD).encode()[:-1] + b"\xc3", "is not UTF-8: byte 0xc3 in line 2"),  # cut in a letter
        ((HEADER + GOOD).replace("\n", "\r"), "ends its lines with a carriage return alone"),
        (HEADER.strip() + ",ride\n" + GOOD.strip() + ",7\n", "has two columns of the same name: ride"),
        (HEADER + GOOD + '2,"EWR,2013-07-02T08:00:00Z,3.5\n' + OTHER, "is broken: line 3 has 2 fields"),
        (
            HEADER + '1,"' + "x\n" * 200_000,
            "is broken: line 65538 has a field of more than 131,072 characters: a line end or a closing quote is missing",
        ),
        (HEADER + "1," + "x" * 3_000_000, "has more than 1,000,000 bytes in line 2"),
        (HEADER + GOOD * 200_000 + "x" * 3_000_000 + "\n", "is broken: line 200002 has a field of more than 131,072 characters"),
        (",".join(f"c{number}" for number in range(20_000)) + "\n", "has more than 10,000 columns"),
        ("x" * 3_000_000, "has more than 1,000,000 bytes in line 1"),
        ("", "cannot be read: empty CSV"),
        (gzip.compress((HEADER + GOOD).encode()), "is a gzip file, which is not text. Write it as CSV, or give it the ending"),
        (b"PK\x03\x04" + bytes(30), "is a zip file or a spreadsheet, which is not text"),
        (b"PAR1" + bytes(30), "is a Parquet file, which is not text"),
        ("# of July\n" + HEADER + GOOD, "is broken: its first line, '# of July', is no header"),
    ],
    ids=[
        "NUL", "UTF-16", "no UTF-8", "cut in a letter", "CR", "column twice", "open quote", "quote to the end", "long line",
        "long line at the end", "many columns", "no lines", "empty", "gzip", "zip", "Parquet", "comment",
    ],
)  # fmt: skip
def test_a_hostile_csv_is_named_with_its_fault(tmp_path: Path, content: str | bytes, said: str):
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(SourceError, match=rf"^{path} {said}"):
        files(path).read("rides", WEEK).collect()

    path.write_text(HEADER + GOOD)
    assert read(path)["ride"].to_list() == [1]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + (HEADER + GOOD + OTHER).encode(),
        (HEADER + GOOD).replace("\n", "\r\n").encode() + OTHER.encode(),
        (HEADER + GOOD + OTHER).encode().rstrip(b"\n"),
        (HEADER + "\n" + GOOD + "\n\n" + OTHER).encode(),
    ],
    ids=["byte order mark", "mixed line ends", "no last line end", "empty lines"],
)
def test_what_programs_write_differently_is_read_alike(tmp_path: Path, content: bytes):
    (tmp_path / "a.csv").write_bytes(content)

    assert read(tmp_path / "a.csv")["ride"].to_list() == [1, 2]


def test_a_formula_is_a_text_like_any_other(tmp_path: Path):
    formula = "=cmd|'/c calc'!A1"
    (tmp_path / "a.csv").write_text(HEADER + GOOD.replace("EWR", formula))

    assert read(tmp_path / "a.csv")["origin"].to_list() == [formula]


@pytest.mark.parametrize("ending", ["json", "ndjson"])
def test_json_that_is_nested_too_deeply_is_named(tmp_path: Path, ending: str):
    path = tmp_path / f"a.{ending}"
    path.write_text('{"ride":' * 50_000 + "1" + "}" * 50_000)

    with pytest.raises(SourceError, match=r"is broken: line 1 is nested too deeply"):
        read(path)


def test_a_list_in_a_file_of_lines_is_named(tmp_path: Path):
    (tmp_path / "a.ndjson").write_text('[{"ride": 1}]')

    with pytest.raises(
        SourceError, match=r"a\.ndjson is a list\. Give it the ending \.json, or write one object in each line"
    ):
        read(tmp_path / "a.ndjson")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_with_other_columns_than_its_neighbours_is_named(tmp_path: Path, ending: str):
    write(ROWS, tmp_path / f"a.{ending}")
    other = ROWS.drop("distance")
    write(other, tmp_path / f"b.{ending}")

    with pytest.raises(
        SourceError, match=rf"b\.{ending} has other columns than .*a\.{ending}: distance is missing, Float64"
    ):
        read(tmp_path / f"*.{ending}")


def test_a_file_without_its_clock_breaks_the_contract_and_not_the_reader(tmp_path: Path):
    ROWS.with_columns(AS_TEXT).drop("asked_at").write_csv(tmp_path / "a.csv")

    with pytest.raises(ContractBroken, match="missing: asked_at"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("length", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_parquet_file_that_lies_about_the_length_of_its_footer_is_named(tmp_path: Path, length: int):
    path = tmp_path / "a.parquet"
    write(ROWS, path)
    content = path.read_bytes()
    path.write_bytes(content[:-8] + struct.pack("<I", length) + content[-4:])

    with pytest.raises(SourceError, match=r"a\.parquet is an incomplete or damaged Parquet file"):
        read(path)


def test_damaged_parquet_files_are_errors_of_ours_and_no_panics(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path, chance = tmp_path / "a.parquet", random.Random(7)
    pl.concat([ROWS] * 200).write_parquet(path)
    whole, refused = path.read_bytes(), 0
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 2, 8])):
            # most of them in the footer, where lengths and places are
            content[-chance.randrange(1, 600) if chance.random() < 0.7 else chance.randrange(len(content))] = (
                chance.randrange(256)
            )
        path.write_bytes(content)
        refused += is_refused(path)

    assert refused > 50
    assert "panicked" not in capfd.readouterr().err


def is_refused(path: Path) -> bool:
    """Read, refused by its name, or against the contract: a changed name of a column is no damage."""
    try:
        read(path)
    except SourceError as error:
        return str(path) in str(error)
    except ContractBroken:
        pass
    return False


LIMITED = """
import resource, sys
sys.path.insert(0, {root!r})
from tests.unit.sources.test_file_source import SourceError, read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read({path!r})
except SourceError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def test_a_line_of_a_hundred_megabytes_does_not_fill_the_memory(tmp_path: Path):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(HEADER.encode() + b'1,"')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
    code = LIMITED.format(root=str(Path(__file__).parents[3]), path=str(path))

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    kilobytes, _, said = ran.stdout.partition(" ")
    assert "has more than 1,000,000 bytes in line 2" in said, ran.stderr
    assert int(kilobytes) < 60_000
