"""Our server with one product and the log as asked: `python ours.py PORT HOME relaxed|strict|off WORKERS`."""

import dataclasses
import multiprocessing
import socket
import sys
from pathlib import Path

import uvicorn

from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.products.policy import Durability, Serving
from serving.app import create_app
from serving.observer import Observer
from serving.settings import Settings


class Counting(Observer):
    """What a metrics endpoint has to do at least: a sum and a count per stage."""

    def __init__(self) -> None:
        self.stages: dict[tuple[str, str], list[float]] = {}
        self.rows = 0

    def stage(self, product: str, name: str, seconds: float) -> None:
        found = self.stages.setdefault((product, name), [0, 0.0])
        found[0] += 1
        found[1] += seconds

    def answered(self, product: str, version: int, rows: int, unknown_categories: int, stale_features: int) -> None:
        self.rows += rows


def answer(listener: socket.socket, home: str, log: str) -> None:
    serving = {
        "off": Serving(log_predictions=False),
        "relaxed": Serving(),
        "strict": Serving(durability=Durability.STRICT),
    }[log]
    product = dataclasses.replace(flight_delay, serving=serving)
    app = create_app(Settings(home=Path(home)), [product], None if log == "off" else Counting())
    config = uvicorn.Config(app, log_config=None, access_log=False, loop="uvloop", http="httptools", ws="none")
    uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    port, home, log, workers = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=2_048)
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=answer, args=(listener, home, log)) for _ in range(int(workers) - 1)]
    for process in others:
        process.start()
    answer(listener, home, log)
    for process in others:
        process.terminate()


if __name__ == "__main__":
    main()
