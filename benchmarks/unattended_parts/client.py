"""A client that asks for predictions all the time and notes what was acknowledged, and reports some of the labels."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from unattended_parts.parcel_delay import DEPOTS

PAUSE_SECONDS = 0.2
LABEL_SHARE = 0.1


@dataclass
class Client:
    """address: where the API is now, "" for nowhere. acknowledged: ids of predictions that were answered with 2xx, labelled:
    of labels. refused: requests that were not answered, which a client repeats. longest_wait: seconds without an answer."""

    product: str
    address: Callable[[], str]
    seed: int
    acknowledged: list[str] = field(default_factory=list)
    labelled: list[str] = field(default_factory=list)
    refused: int = 0
    longest_wait: float = 0.0
    unexpected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="client")

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _go_on(self) -> None:
        answered = time.monotonic()
        with httpx.Client(timeout=10) as http:
            while not self._stopped.wait(PAUSE_SECONDS):
                try:
                    self._predict(http)
                except httpx.HTTPError:
                    self.refused += 1
                else:
                    self.longest_wait = max(self.longest_wait, time.monotonic() - answered)
                    answered = time.monotonic()

    def _predict(self, http: httpx.Client) -> None:
        """Raises httpx.HTTPError: it was not answered, or refused."""
        base = f"{self.address() or 'http://127.0.0.1:1'}/v1/models/{self.product}"
        rows = [self._row() for _ in range(self._draw.randint(1, 5))]
        answer = http.post(f"{base}/predict", json={"rows": rows})
        if 400 <= answer.status_code < 500:
            self.unexpected.append(f"{answer.status_code}: {answer.text[:300]}")
        answer.raise_for_status()
        given = [prediction["prediction_id"] for prediction in answer.json()["predictions"]]
        self.acknowledged += given
        told = [name for name in given if self._draw.random() < LABEL_SHARE]
        if told:
            labels = [{"prediction_id": name, "label": self._draw.random() < 0.5} for name in told]
            http.post(f"{base}/labels", json={"labels": labels}).raise_for_status()
            self.labelled += told

    def _row(self) -> dict[str, Any]:
        return {
            "parcel": self._draw.randrange(10**9),
            "depot": self._draw.choice(DEPOTS),
            "weight": round(self._draw.uniform(0.5, 20), 2),
            "accepted_at": "2024-06-03T10:00:00Z",
        }
