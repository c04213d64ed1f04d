"""Environments of the peers that benchmarks compare with: one per peer set, from its hashed lock, made on first use.

Peers are never installed beside the platform: their pins would decide what it runs on.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parents[1] / "var" / "peers"


def python_with(name: str) -> Path:
    """The interpreter of the environment of `peers/<name>.lock`. Making it can take minutes, and says so."""
    lock = LOCKS / f"{name}.lock"
    if not lock.exists():
        known = ", ".join(sorted(path.stem for path in LOCKS.glob("*.lock")))
        sys.exit(f"there is no peer environment {name!r}. Known: {known}. Write {name}.in and run `make lock`.")
    folder = ENVIRONMENTS / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not ready.exists() or ready.read_text() != digest:
        print(f"making the peers' environment in {folder.relative_to(ENVIRONMENTS.parents[1])}", file=sys.stderr)
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock], check=True
        )
        ready.write_text(digest)
    return python


if __name__ == "__main__":
    for path in sorted(LOCKS.glob("*.lock")):
        python_with(path.stem)
