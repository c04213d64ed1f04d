"""The metrics of a worker, with prometheus_client. Several workers share them through the library's multiprocess mode."""

import os
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from serving.shared_metrics import FOLDER

# seconds; from a fifth of a millisecond, the time of one row in process, to longer than any client should wait
BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

disable_created_metrics()  # type: ignore[no-untyped-call] # it would add an unused series to each counter


class Metrics:
    """The metrics of this worker. Every gauge has the label `worker`, the id of its process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        seconds = partial(Histogram, registry=self.registry, buckets=BUCKETS)
        # this mode drops workers that ended and adds no label of its own; `worker` distinguishes the others
        gauge = partial(Gauge, registry=self.registry, multiprocess_mode="livemostrecent")
        worker, product = ("worker",), ("product",)

        self.requests = counter("mlops_requests", "Requests answered.", ("route", "status"))
        self.request_seconds = seconds("mlops_request_seconds", "From the first byte to the last.", ("route",))
        self.refusals = counter("mlops_refusals", "Requests refused before routing.", ("reason",))
        # decode is observed for every request, the other stages for every batch of requests; queue is its longest wait
        self.stage_seconds = seconds("mlops_stage_seconds", "Time of a prediction by stage.", ("product", "stage"))
        self.predictions = counter(
            "mlops_predictions", "Rows answered; shadow: scored, not answered.", ("product", "version", "role")
        )
        self.unknown_categories = counter(
            "mlops_unknown_categories", "Rows with a category the version was not trained on.", ("product", "feature")
        )
        self.online_features = counter(
            "mlops_online_features", "Rows without a looked-up value.", ("product", "feature", "state")
        )
        self.labels = counter("mlops_labels", "Labels stored.", product)
        self.shadow_dropped = counter(
            "mlops_shadow_dropped", "Rows the challenger did not see: its queue was full, or it failed.", product
        )

        self.in_flight = gauge("mlops_in_flight", "Requests being answered.", worker)
        self.queue_rows = gauge("mlops_queue_rows", "Rows waiting to be scored.", worker)
        self.log_waiting_rows = gauge("mlops_log_waiting_rows", "Answered rows not on disk yet.", worker)
        self.log_dropped_rows = gauge("mlops_log_dropped_rows", "Answered rows lost to a full buffer.", worker)
        self.log_writing = gauge("mlops_log_writing", "1 while the prediction log can be written.", worker)
        self.log_sealing = gauge("mlops_log_sealing", "1 while logged rows reach the state.", worker)
        self.ready = gauge("mlops_ready", "1 while every champion is open and warm.", worker)
        self.ledger_readable = gauge("mlops_ledger_readable", "1 while the deployment ledger can be read.", worker)
        self.newest_serves = gauge(
            "mlops_newest_serves", "1 unless the newest deployment cannot be opened.", ("product", "worker")
        )
        self.serving = gauge("mlops_serving", "1 for the version that serves.", ("product", "version", "worker"))
        self.worker_memory = gauge("mlops_worker_memory_bytes", "Resident memory.", worker)

    def exposition(self) -> bytes:
        """Prometheus' text format: counters and histograms summed over all workers, gauges of each running worker."""
        registry = self.registry
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
