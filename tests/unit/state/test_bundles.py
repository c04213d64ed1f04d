"""Bundles: immutable versions in a folder or a bucket, read through a cache that nobody has to trust."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.bundles import Bundles
from mlops_assets.state.manifest import (
    ESTIMATOR,
    GOLDEN,
    MANIFEST,
    MODEL,
    REFERENCE,
    SIGNATURE,
    Manifest,
    checksum,
    encoded,
)
from mlops_assets.state.objects import Objects
from tests.tiny_bundle import tiny_files, tiny_manifest

KEY, OTHER_KEY = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
BASE = "bundles/flight_delay"


@pytest.fixture
def bundles(objects: Objects, tmp_path: Path) -> Bundles:
    return Bundles(objects, flight_delay.name, tmp_path / "cache")


@pytest.fixture
def keyed(bundles: Bundles) -> Bundles:
    return replace(bundles, approval_key=KEY)


def a_version(bundles: Bundles, version: int = 1, *, bias: float = 0.0) -> Manifest:
    """Its files differ from those of a version with another bias."""
    files = {**tiny_files(flight_delay, bias=bias), ESTIMATOR: f"estimator of {bias}".encode()}
    return bundles.write(tiny_manifest(flight_delay, version), files)


def flip_last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def cut_in_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


damages = pytest.mark.parametrize("damage", [flip_last_byte, cut_in_half])


def test_a_version_that_does_not_exist_is_named_with_those_that_do(bundles: Bundles) -> None:
    a_version(bundles, 7)

    bundles.require(7)
    with pytest.raises(DeclarationError, match=r"flight_delay has no version 8\. Known: 7"):
        bundles.require(8)


def test_a_version_is_read_back_as_it_was_written(bundles: Bundles) -> None:
    written = a_version(bundles, 7)

    opened = bundles.open(7)

    assert opened.manifest == bundles.manifest(7) == written
    assert msgspec.structs.replace(written, checksums={}) == tiny_manifest(flight_delay, 7)
    assert written.checksums == {name: checksum(opened.content(name)) for name in (ESTIMATOR, GOLDEN, MODEL, REFERENCE)}
    assert bundles.read(7, ESTIMATOR) == b"estimator of 0.0"


def test_its_objects_have_the_names_that_every_program_knows(keyed: Bundles) -> None:
    a_version(keyed)

    names = keyed.objects.names(BASE)

    assert names == [f"{BASE}/1/{name}" for name in (ESTIMATOR, GOLDEN, MANIFEST, SIGNATURE, MODEL, REFERENCE)]


def test_versions_are_in_order_and_manifests_newest_first(bundles: Bundles) -> None:
    for version in (2, 10, 9):
        a_version(bundles, version)

    assert bundles.versions() == [2, 9, 10]
    assert [manifest.version for manifest in bundles.manifests()] == [10, 9, 2]
    assert [manifest.version for manifest in bundles.manifests(after=9)] == [10]


def test_where_nothing_was_written_there_is_no_version(bundles: Bundles) -> None:
    assert (bundles.versions(), bundles.manifests()) == ([], [])
    with pytest.raises(
        BundleError, match=r"version 1 of flight_delay \(.*\) is not a bundle: manifest.json is missing"
    ):
        bundles.manifest(1)


def test_a_product_has_its_own_versions(bundles: Bundles) -> None:
    a_version(bundles)

    assert Bundles(bundles.objects, "flight").versions() == []
    with pytest.raises(
        BundleError, match=r"the manifest of version 1 of air_time .* is that of version 1 of flight_delay"
    ):
        Bundles(bundles.objects, air_time.name).write(tiny_manifest(flight_delay), tiny_files(flight_delay))


def test_a_manifest_that_cannot_be_read_is_left_out_of_the_list(bundles: Bundles) -> None:
    a_version(bundles, 1)
    a_version(bundles, 2)
    bundles.objects.put(f"{BASE}/1/{MANIFEST}", b"{}")

    assert [manifest.version for manifest in bundles.manifests()] == [2]
    with pytest.raises(BundleError, match=r"version 1 of flight_delay .*manifest\.json cannot be read"):
        bundles.manifest(1)


def test_a_bundle_is_never_replaced(bundles: Bundles) -> None:
    a_version(bundles, bias=1)
    before = {name: bundles.objects.get(name) for name in bundles.objects.names("bundles")}

    with pytest.raises(BundleError, match=r"version 1 of flight_delay .* bundles are never replaced"):
        a_version(bundles, bias=2)
    with pytest.raises(BundleError, match="bundles are never replaced"):
        a_version(bundles, bias=1)

    assert {name: bundles.objects.get(name) for name in bundles.objects.names("bundles")} == before


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "a/b", MANIFEST])
def test_only_files_of_a_bundle_are_written(bundles: Bundles, name: str) -> None:
    with pytest.raises(BundleError, match="which is not a file of a bundle"):
        bundles.write(tiny_manifest(flight_delay), {MODEL: b"", name: b"outside"})

    assert bundles.objects.names("") == []


def test_a_manifest_that_could_not_be_read_is_not_written(bundles: Bundles) -> None:
    endless = msgspec.structs.replace(tiny_manifest(flight_delay), metrics={"roc_auc": float("nan")})

    with pytest.raises(BundleError, match=r"manifest.json cannot be read: Expected `float`, got `null`"):
        bundles.write(endless, tiny_files(flight_delay))

    assert bundles.objects.names("") == []


def test_what_a_killed_writer_left_is_in_nobodys_way(keyed: Bundles) -> None:
    for name in (MODEL, ESTIMATOR, SIGNATURE):
        keyed.objects.create(f"{BASE}/1/{name}", b"of somebody who was killed")
    assert keyed.versions() == []

    a_version(keyed, bias=30)

    opened = keyed.open(1)
    assert opened.content(MODEL) == tiny_files(flight_delay, bias=30)[MODEL]
    with keyed.folder(1) as folder:
        assert Bundle.open(folder, approval_key=KEY).content(ESTIMATOR) == b"estimator of 30"


def test_a_manifest_of_another_version_is_refused(bundles: Bundles) -> None:
    a_version(bundles, 1)
    for name in bundles.objects.names(f"{BASE}/1"):
        bundles.objects.put(name.replace("/1/", "/2/"), bundles.objects.get(name) or b"")

    for use in (bundles.open, bundles.manifest, lambda version: bundles.read(version, MODEL)):
        with pytest.raises(
            BundleError, match=r"the manifest of version 2 of flight_delay .* is that of version 1 of flight_"
        ):
            use(2)


@damages
@pytest.mark.parametrize("name", [MODEL, REFERENCE, GOLDEN, ESTIMATOR])
def test_a_damaged_object_is_refused_with_its_version_and_name(bundles: Bundles, name: str, damage) -> None:
    a_version(bundles)
    bundles.objects.put(f"{BASE}/1/{name}", damage(bundles.read(1, name)))
    elsewhere = replace(bundles, cache=None)

    for use in (
        elsewhere.open,
        lambda version: elsewhere.read(version, name),
        lambda version: enter(elsewhere, version),
    ):
        with pytest.raises(BundleError, match=rf"version 1 of flight_delay \(.*{BASE}/1\): {name} is damaged"):
            use(1)


def enter(bundles: Bundles, version: int) -> None:
    with bundles.folder(version):
        pass


def test_a_missing_object_is_refused_with_its_version_and_name(bundles: Bundles) -> None:
    a_version(bundles)
    bundles.objects.delete(f"{BASE}/1/{MODEL}")

    with pytest.raises(BundleError, match=r"version 1 of flight_delay \(.*\): model.onnx is missing"):
        bundles.open(1)


@damages
def test_with_a_key_a_damaged_manifest_or_signature_is_refused(keyed: Bundles, damage) -> None:
    a_version(keyed)
    for name in (MANIFEST, SIGNATURE):
        whole = keyed.objects.get(f"{BASE}/1/{name}") or b""
        keyed.objects.put(f"{BASE}/1/{name}", damage(whole))

        with pytest.raises(
            BundleError, match=r"version 1 of flight_delay .* was signed with another key .* or was changed since"
        ):
            keyed.open(1)

        keyed.objects.put(f"{BASE}/1/{name}", whole)


def test_a_folder_of_a_version_is_the_bundle_and_goes_with_the_block(keyed: Bundles) -> None:
    a_version(keyed, bias=3)

    with keyed.folder(1) as folder:
        names = sorted(path.name for path in folder.iterdir())
        opened = Bundle.open(folder, approval_key=KEY)

    assert names == [ESTIMATOR, GOLDEN, MANIFEST, SIGNATURE, MODEL, REFERENCE]
    assert opened.manifest == keyed.manifest(1)
    assert not folder.exists()


def test_a_second_reading_takes_files_from_this_machine(bundles: Bundles) -> None:
    a_version(bundles)
    bundles.open(1)

    for name in (MODEL, REFERENCE, GOLDEN, ESTIMATOR):
        bundles.objects.delete(f"{BASE}/1/{name}")

    assert bundles.open(1).content(ESTIMATOR) == b"estimator of 0.0"


def test_without_a_cache_files_are_read_where_they_lie(bundles: Bundles, tmp_path: Path) -> None:
    uncached = replace(bundles, cache=None)
    a_version(uncached)
    uncached.open(1)

    uncached.objects.delete(f"{BASE}/1/{REFERENCE}")

    with pytest.raises(BundleError, match=r"reference.json is missing"):
        uncached.open(1)
    assert not (tmp_path / "cache").exists()


@damages
def test_a_damaged_file_of_the_cache_is_fetched_again(bundles: Bundles, tmp_path: Path, damage) -> None:
    a_version(bundles)
    bundles.open(1)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(damage(path.read_bytes()))

    opened = bundles.open(1)

    assert opened.content(MODEL) == tiny_files(flight_delay)[MODEL]
    assert len(kept) == 4
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()} == kept


def test_a_checksum_cannot_reach_out_of_the_cache(bundles: Bundles, tmp_path: Path) -> None:
    written = a_version(bundles)
    (tmp_path / "victim").write_bytes(b"of somebody else")
    (tmp_path / "cache").mkdir()
    hostile = msgspec.structs.replace(written, checksums={**written.checksums, REFERENCE: "../victim"})
    bundles.objects.put(f"{BASE}/1/{MANIFEST}", encoded(hostile))

    with pytest.raises(BundleError, match="is not a SHA-256"):
        bundles.open(1)

    assert (tmp_path / "victim").read_bytes() == b"of somebody else"


def test_a_cache_that_cannot_be_used_slows_down_and_does_no_more(
    bundles: Bundles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a_version(bundles)
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")

    assert bundles.open(1).manifest.version == 1
    assert "the cache of bundles cannot be used, so they are fetched each time" in caplog.text


def test_with_a_key_a_bundle_that_was_not_signed_is_refused(bundles: Bundles, keyed: Bundles) -> None:
    a_version(bundles)

    for use in (keyed.open, lambda version: keyed.read(version, MODEL), lambda version: enter(keyed, version)):
        with pytest.raises(
            BundleError, match=r"version 1 of flight_delay .* is not signed, and with MLOPS_APPROVAL_KEY"
        ):
            use(1)


def test_a_version_that_was_signed_later_opens(bundles: Bundles, keyed: Bundles) -> None:
    a_version(bundles)
    evidence = keyed.evidence(1)

    keyed.sign(1)

    assert keyed.open(1).manifest.version == 1
    assert keyed.evidence(1) == evidence


def test_a_damaged_version_is_not_signed_even_where_the_cache_has_it_whole(bundles: Bundles, keyed: Bundles) -> None:
    a_version(bundles)
    bundles.open(1)
    bundles.objects.put(f"{BASE}/1/{ESTIMATOR}", b"damaged")

    with pytest.raises(BundleError, match=r"estimator\.skops is damaged"):
        keyed.sign(1)
    with pytest.raises(BundleError, match="is not signed"):
        keyed.open(1)


def test_nothing_is_signed_without_a_key(bundles: Bundles) -> None:
    a_version(bundles)

    with pytest.raises(DeclarationError, match="MLOPS_APPROVAL_KEY is not set"):
        bundles.sign(1)


def test_a_bundle_of_another_key_is_refused_until_it_is_signed_anew(keyed: Bundles) -> None:
    a_version(keyed)
    others = replace(keyed, approval_key=OTHER_KEY)

    with pytest.raises(BundleError, match="was signed with another key than MLOPS_APPROVAL_KEY, or was changed since"):
        others.open(1)

    others.sign(1)
    assert others.open(1).manifest.version == 1


def test_the_key_is_not_shown(keyed: Bundles) -> None:
    assert KEY not in repr(keyed)


def test_the_evidence_of_a_version_is_the_hash_of_its_manifest(bundles: Bundles) -> None:
    a_version(bundles)

    assert bundles.evidence(1) == checksum(bundles.objects.get(f"{BASE}/1/{MANIFEST}") or b"")


def test_the_cache_keeps_to_its_size(bundles: Bundles, tmp_path: Path) -> None:
    files = tiny_files(flight_delay)
    small = replace(bundles, cache_bytes=len(files[MODEL]) + 100)
    for version in range(1, 6):
        a_version(small, version, bias=version)
        small.open(version)

    kept = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())

    assert kept <= len(files[MODEL]) + 100
    assert small.open(1).manifest.version == 1
