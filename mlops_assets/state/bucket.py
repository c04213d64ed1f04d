"""Objects in a bucket, through one client per address, with errors that say what to do."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO

from mlops_assets.addresses import reason
from mlops_assets.errors import StoreError, StoreRefused
from mlops_assets.state.folder import as_store_error
from mlops_assets.state.object_names import checked, is_hidden

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Client = S3Store | GCSStore | AzureStore

_RETRIES, _RETRY_SECONDS = 3, 10
_LONGEST_TRANSFER = timedelta(hours=1)
_METADATA_SERVER = "169.254.169.254"  # the clients of the clouds ask it where no variable names credentials
_CLIENT_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")


@dataclass(frozen=True)
class Bucket:
    """Objects below `s3://bucket/folder` or the like; credentials, region and endpoint come from the usual variables."""

    url: str

    def address(self, name: str) -> str:
        return f"{self.url}/{checked(name)}"

    def get(self, name: str) -> bytes | None:
        with self._client() as client:
            try:
                return bytes(client.get(checked(name)).bytes())
            except FileNotFoundError as error:
                if _says_that_the_bucket_is_missing(error):
                    raise
                return None

    def open(self, name: str) -> BinaryIO | None:
        content = self.get(name)
        return None if content is None else BytesIO(content)

    def put(self, name: str, content: bytes) -> None:
        with self._client() as client:
            client.put(checked(name), content)

    def create(self, name: str, content: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError, BaseError

        conflicts = 0
        with self._client() as client:
            while True:
                try:
                    client.put(checked(name), content, mode="create")
                    return True
                except BaseError as error:
                    # the response may be lost after the write; a repeated request then finds the content of the first one
                    existing = self.get(name)
                    if existing is not None:
                        return existing == content
                    # S3 also refuses while another write is under way, and that one may fail
                    conflicts += 1
                    if not isinstance(error, AlreadyExistsError) or conflicts > _RETRIES:
                        raise

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="object-") as folder:
            half = Path(folder) / Path(checked(name)).name
            with as_store_error(half, "written"):
                yield half
            with self._client() as client:
                client.put(checked(name), half)

    def names(self, folder: str, after: str = "") -> list[str]:
        with self._client() as client:
            listed = client.list((folder and checked(folder)) or None, offset=after or None).collect()
        names = (str(item["path"]) for item in listed)
        return sorted(name for name in names if name > after and not is_hidden(name))  # Azure ignores the offset

    def folders(self, folder: str) -> list[str]:
        with self._client() as client:
            listed = client.list_with_delimiter(f"{checked(folder)}/" if folder else None)
        names = (str(prefix).rstrip("/").rsplit("/", 1)[-1] for prefix in listed["common_prefixes"])
        return sorted(name for name in names if not is_hidden(name))

    def delete(self, name: str) -> None:
        with self._client() as client:
            try:
                client.delete(checked(name))
            except FileNotFoundError:
                self.get(name)  # as in `stamp`

    def sweep(self) -> None:
        """A bucket shows only whole objects, and its lifecycle rules remove incomplete uploads."""

    def stamp(self, name: str) -> str | None:
        with self._client() as client:
            try:
                return str(client.head(checked(name))["e_tag"])
            except FileNotFoundError:
                self.get(name)  # raises where the bucket is missing; the response to `head` does not tell
                return None

    def refuse_if_unusable(self) -> None:
        """Raises StoreRefused: the bucket does not exist or refuses the credentials. A bucket that does not answer may do so
        later, so it is not refused."""
        try:
            with self._client(_ONE_TRY) as client:
                next(iter(client.list("ledger")), None)  # the first page of the list
        except StoreRefused:
            raise
        except StoreError:
            return

    @contextmanager
    def _client(self, patience: "Patience | None" = None) -> Iterator["Client"]:
        from obstore.exceptions import BaseError

        variables = {name: value for name, value in os.environ.items() if name.startswith(_CLIENT_VARIABLES)}
        try:
            yield _client_of(self.url, frozenset(variables.items()), patience or _PATIENT)
        except (BaseError, OSError, ValueError) as error:  # no bucket can have some names
            raise self._in_words(error) from None

    def _in_words(self, error: Exception) -> StoreError:
        text = reason(error, lines=1)
        status = re.search(r"status code: (\d{3})[A-Za-z ]*", text)
        answer = f" ({status[0].removeprefix('status code: ').strip()})" if status else ""
        if _says_that_the_bucket_is_missing(error):
            return StoreRefused(
                f"{self.url} cannot be used: the bucket does not exist{answer}. Create it, or name another one in MLOPS_STATE, then "
                "run it again."
            )
        if _METADATA_SERVER in text:
            return StoreRefused(
                f"{self.url} cannot be used: neither the environment nor the machine provides credentials. Set the "
                f"{self._variables} variables, then run it again."
            )
        if status and status[1] in ("401", "403"):
            return StoreRefused(
                f"{self.url} cannot be used: its cloud refused the credentials{answer}. Check the {self._variables} variables and "
                "their permissions, then run it again."
            )
        return StoreError(
            f"{self.url} cannot be used: {text}. The previous content is unchanged. Check the endpoint, the credentials and "
            "that the bucket exists, then run it again."
        )

    @property
    def _variables(self) -> str:
        return {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}[self.url.partition(":")[0]]


@dataclass(frozen=True)
class Patience:
    """Retries and timeouts for a bucket that does not answer or answers with an error."""

    retries: int
    retry_seconds: float
    connect_seconds: float
    silent_seconds: float


# a bucket that does not answer is reported within seconds; the client's own default is three minutes
_PATIENT = Patience(_RETRIES, _RETRY_SECONDS, connect_seconds=10, silent_seconds=15)
_ONE_TRY = Patience(retries=0, retry_seconds=0, connect_seconds=2, silent_seconds=5)


@lru_cache(maxsize=16)
def _client_of(url: str, variables: frozenset[tuple[str, str]], patience: Patience) -> "Client":
    """One client for each URL and each set of variables, which it reads when it is created. Clients of replaced variables, such
    as short-lived credentials, leave the cache in time."""
    from obstore.store import from_url

    return from_url(  # type: ignore[return-value]
        url,
        retry_config={"max_retries": patience.retries, "retry_timeout": timedelta(seconds=patience.retry_seconds)},
        client_options={
            "allow_http": True,
            "connect_timeout": timedelta(seconds=patience.connect_seconds),
            "read_timeout": timedelta(seconds=patience.silent_seconds),
            "timeout": _LONGEST_TRANSFER,
        },
    )


def _says_that_the_bucket_is_missing(error: Exception) -> bool:
    """Without this check a missing bucket would look like an empty one."""
    return any(code in str(error) for code in ("NoSuchBucket", "ContainerNotFound"))
