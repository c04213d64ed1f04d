"""Environments of the peers that benchmarks compare with: one per peer set, from its hashed lock, made on first use.

Peers are never installed beside the platform: their pins would decide what it runs on. The Airflow of `examples/airflow` is one, too.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / "var" / "peers"
LOCKS = {
    **{path.stem: path for path in sorted((ROOT / "benchmarks" / "peers").glob("*.lock"))},
    "airflow": ROOT / "examples" / "airflow" / "requirements.lock",
}


def python_with(name: str) -> Path:
    """The interpreter of the environment of a lock. Making it can take minutes, and says so."""
    lock = LOCKS.get(name)
    if lock is None:
        sys.exit(
            f"there is no peer environment {name!r}. Known: {', '.join(LOCKS)}. Write {name}.in and run `make lock`."
        )
    folder = ENVIRONMENTS / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not ready.exists() or ready.read_text() != digest:
        print(f"making the peers' environment in {folder.relative_to(ROOT)}", file=sys.stderr)
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock], check=True
        )
        ready.write_text(digest)
    return python


if __name__ == "__main__":
    for name in LOCKS:
        python_with(name)
