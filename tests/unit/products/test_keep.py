"""How long what a product leaves behind is kept, as declared and as an installation says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError
from mlops_assets.products.keep import KINDS, LONGEST, Keep, in_words
from resources.environments import read_environment
from resources.platform import Platform

KNOWN = "Known: labels, pinned, predictions, reports, shadow, training_sets, trials, versions."


def test_what_an_installation_says_of_some_kinds_leaves_the_others_as_declared() -> None:
    declared = Keep(predictions=timedelta(days=30), reports=timedelta(days=7))

    changed = declared.changed_by(" reports:12w, shadow:none,labels:2y,trials:0d ")

    expected = {"reports": timedelta(days=84), "shadow": None, "labels": timedelta(days=730), "trials": timedelta(0)}
    assert changed == replace(declared, **expected)
    assert declared.changed_by("") == declared


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("predicions:90d", f"'predicions' has no retention time. {KNOWN} Did you mean 'predictions'?"),
        ("90d", "'90d' has no retention time"),
        ("reports:30d,shadow:none,reports:31d", "'reports' is named twice. Give one time for it"),
        ("reports", "the retention time of reports is ''. Give whole days, weeks or years, as in 90d"),
        ("reports:90", "is '90'. Give whole days"),
        ("reports:1.5y", "is '1.5y'. Give whole days"),
        ("reports:-1d", "is '-1d'. Give whole days"),
        ("reports:None", "or none to keep them for ever"),
        ("reports:٣d", "Give whole days"),
        ("reports:101y", "reports is 36865 days. Give a time from 0 days to 100 years"),
        ("reports:999999999d", "Give whole days"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_choices(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_KEEP", text)

    with pytest.raises(DeclarationError) as refused:
        read_environment()

    assert str(refused.value).startswith("MLOPS_KEEP: ")
    assert said in str(refused.value)


def test_a_time_may_be_nothing_or_a_hundred_years_but_no_less_and_no_more() -> None:
    assert Keep(reports=timedelta(0), labels=LONGEST)

    for wrong in (timedelta(microseconds=-1), LONGEST + timedelta(days=1)):
        with pytest.raises(DeclarationError, match="keep: reports"):
            Keep(reports=wrong)


def test_every_kind_has_a_time_by_itself_and_traffic_is_kept_for_years() -> None:
    keep = Keep()

    assert all(keep.of(kind) is not None for kind in KINDS)
    assert keep.predictions == keep.labels == timedelta(days=1095)


def test_a_platform_keeps_by_the_variable_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_KEEP", "reports:30d")

    platform = Platform.of(read_environment())

    assert platform.keep_of(flight_delay) == replace(flight_delay.keep, reports=timedelta(days=30))


@pytest.mark.parametrize(
    ("kept_for", "words"),
    [
        (None, "for ever"),
        (timedelta(0), "0 days"),
        (timedelta(days=1), "1 day"),
        (timedelta(hours=36), "1.5 days"),
        (timedelta(days=1095), "1095 days"),
    ],
)
def test_a_time_in_words(kept_for: timedelta | None, words: str) -> None:
    assert in_words(kept_for) == words
