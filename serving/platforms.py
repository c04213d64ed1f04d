"""Hosted platforms that run this server as a container: the variables that each sets, and the paths that it calls.

They call the container over a private network and cannot send keys, so the paths of a platform's contract, and only those,
need no key there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.state.manifest import MANIFEST

SAGEMAKER_MODEL = "/opt/ml/model"
AZURE_SCORE, AZURE_LIVE, AZURE_READY = "/score", "/livez", "/readyz"  # as the deployment's inference_config names them


@dataclass(frozen=True)
class Platform:
    """The platform that started this container. open_paths: these are answered without a key."""

    name: str
    port: int
    bundle: Path
    open_paths: tuple[str, ...]
    predict_route: str = ""
    health_route: str = ""

    @property
    def product(self) -> str:
        """Raises BundleError: the folder that the platform mounted contains no bundle."""
        from mlops_assets.state.bundle import read_manifest

        return read_manifest(self.bundle).product


def platform_of(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> Platform | None:
    """The platform that sets these variables and arguments; None outside of hosted platforms.

    Raises DeclarationError: a variable cannot be used. Raises BundleError: there is no bundle where the platform puts it."""
    in_image = environment.get("MLOPS_BUNDLE")
    if "AIP_HTTP_PORT" in environment:
        routes = (environment.get("AIP_PREDICT_ROUTE") or "/predict", environment.get("AIP_HEALTH_ROUTE") or "/health")
        folder = Path(in_image) if in_image else _local(environment.get("AIP_STORAGE_URI", ""))
        port = _port(environment, "AIP_HTTP_PORT", "8080")
        return Platform("vertex ai", port, find_bundle(folder), routes, *routes)
    if "AZUREML_MODEL_DIR" in environment:
        folder = Path(in_image or environment["AZUREML_MODEL_DIR"])
        port = _port(environment, "MLOPS_PORT", "5001")
        return Platform("azure ml", port, find_bundle(folder), (AZURE_SCORE, AZURE_LIVE, AZURE_READY))
    if list(arguments[:1]) == ["serve"]:  # `docker run <image> serve` is how SageMaker starts a container
        folder = Path(in_image or environment.get("SM_MODEL_DIR") or SAGEMAKER_MODEL)
        port = _port(environment, "SAGEMAKER_BIND_TO_PORT", "8080")
        return Platform("sagemaker", port, find_bundle(folder), ("/ping", "/invocations"))
    if arguments:
        raise DeclarationError(
            f"there is no argument {arguments[0]!r}. Known: serve, for SageMaker; otherwise leave it out."
        )
    return None


def find_bundle(folder: Path) -> Path:
    """The folder itself, or the one folder in it that is a bundle. Raises BundleError: there is none, or there are several."""
    bundles = [folder] if (folder / MANIFEST).exists() else sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if len(bundles) != 1:
        raise BundleError(
            f"{folder} contains {len(bundles) or 'no'} bundles. Put the folder of one version there, with its {MANIFEST}."
        )
    return bundles[0]


def _local(address: str) -> Path:
    parts = urlsplit(address)
    if parts.scheme not in ("", "file") or not parts.path:
        raise DeclarationError(
            f"AIP_STORAGE_URI is {address!r}, which only Google's own client can read. Put the bundle into the image "
            "or mount it, and name its folder in MLOPS_BUNDLE."
        )
    return Path(parts.path)


def _port(environment: Mapping[str, str], name: str, default: str) -> int:
    text = environment.get(name) or default
    if not text.isdecimal() or int(text) > 65_535:
        raise DeclarationError(f"{name} is {text!r}. Give a port from 0 to 65535 (0: a free one).")
    return int(text)
