"""`mlops up` shows the notifications that sensors and runs write to a log."""

from pathlib import Path

from mlops_assets.servers.marked_lines import MarkedLines


def test_lines_from_before_are_not_new_and_others_are_not_marked(tmp_path: Path):
    log = tmp_path / "code.log"
    log.write_text("notification: of yesterday\n")
    lines = MarkedLines(log, "notification: ")

    write(log, "DEBUG - a step\nnotification: churn: version 2 needs rework\nDEBUG notification: quoted\n")

    assert lines.new() == ["churn: version 2 needs rework"]
    assert lines.new() == []


def test_a_line_that_is_being_written_is_given_whole(tmp_path: Path):
    log = tmp_path / "code.log"
    lines = MarkedLines(log, "notification: ")  # there is no log yet

    write(log, "notification: churn: ver")
    assert lines.new() == []
    write(log, "sion 2 needs rework\n")

    assert lines.new() == ["churn: version 2 needs rework"]


def test_a_new_log_in_place_of_a_long_one_is_read_from_its_beginning(tmp_path: Path):
    log = tmp_path / "code.log"
    log.write_text("DEBUG\n" * 1_000)
    lines = MarkedLines(log, "notification: ")

    log.write_text("notification: a run failed\n")

    assert lines.new() == ["a run failed"]


def write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)
