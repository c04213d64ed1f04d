"""Runs a program to which one folder is mounted read-only, in a mount namespace of its own; root is kept out as well."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

MOUNTED = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def with_read_only(folder: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` so; its process id stays that of the program."""
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    return [*alone, "sh", "-c", MOUNTED, str(folder), *command]


@cache
def can_mount_read_only() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            tried = subprocess.run(
                with_read_only(Path(folder), ["sh", "-c", f"touch {folder}/written || exit 30"]),
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            return False  # no such program here
    return tried.returncode == 30
