"""What the measurements were made on and with."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

FLAGS = {"AVX-512": ("avx512f",), "bf16 units": ("avx512_bf16", "amx_bf16", "bf16")}
"""Names of /proc/cpuinfo, of which any one will do."""


def describe(threads: int) -> dict[str, Any]:
    """Processor, threads, versions, commit and date."""
    info = cpuinfo()
    units = {name: "yes" if has(info, name) else "no" for name in FLAGS}
    accelerator = {"accelerator": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "processor": info.get("model name", platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "threads": threads,
        **units,
        **accelerator,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "amortized": version("amortized"),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def has(info: dict[str, str], name: str) -> bool:
    """Whether the processor has what `FLAGS` calls `name`."""
    flags = f"{info.get('flags', '')} {info.get('Features', '')}".split()
    return any(flag in flags for flag in FLAGS[name])


def commit() -> str:
    """The commit of the working tree, with a + where files have changed since."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "../src", ".", ":!results")
        return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
