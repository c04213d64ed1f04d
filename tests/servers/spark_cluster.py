"""A real standalone Spark cluster on loopback: a master and two workers, from the classes in the pyspark package."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.servers.processes import a_server, answers, free_port

HAS_JAVA = shutil.which("java") is not None or "JAVA_HOME" in os.environ
NO_JAVA = "Java is not on this machine: install a JRE 17 (`apt-get install openjdk-17-jre-headless`) to run Spark"
needs_java = pytest.mark.skipif(not HAS_JAVA, reason=NO_JAVA)


def spark_program(name: str) -> str:
    import pyspark

    return str(Path(pyspark.__file__).parent / "bin" / name)


class SparkCluster:
    """A master; workers of one core each are added to it. All of them end with `running`."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._folder, self._running, self._workers = folder, running, 0
        self._common = {
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_WORKER_DIR": f"{folder}/work",
            "SPARK_DAEMON_MEMORY": "512m",
        }
        port = free_port()
        self.address = f"spark://127.0.0.1:{port}"
        master = self._part("master.Master", "--port", str(port))
        running.enter_context(a_server(master, folder / "master.log", lambda: answers(port), **self._common))

    def add_worker(self, memory: str = "1500m") -> None:
        self._workers += 1
        said = self._folder / f"worker{self._workers}.log"
        start = self._part("worker.Worker", "--cores", "1", "--memory", memory, self.address)
        self._running.enter_context(
            a_server(start, said, lambda: "Successfully registered with master" in said.read_text(), **self._common)
        )

    def _part(self, name: str, *arguments: str) -> list[str]:
        run = [spark_program("spark-class"), f"org.apache.spark.deploy.{name}"]
        return [*run, "--host", "127.0.0.1", "--webui-port", "0", *arguments]


@contextmanager
def a_spark_cluster() -> Iterator[SparkCluster]:
    with TemporaryDirectory(prefix="spark-") as folder, ExitStack() as running:
        yield SparkCluster(Path(folder), running)


@pytest.fixture(scope="session")
def spark_cluster() -> Iterator[str]:
    """The address of the master."""
    if not HAS_JAVA:
        pytest.skip(NO_JAVA)
    with a_spark_cluster() as cluster:
        cluster.add_worker()
        cluster.add_worker()
        yield cluster.address
