"""What the results of experiments have in common: where and how they are written, and on what they were had."""

import os
import platform
from pathlib import Path
from typing import Any

from amortized import Run

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"processor": models[0] if models else platform.processor(), "cores": os.cpu_count(), "platform": platform.platform()}


def trained_for(run: Run) -> float:
    """The seconds that training took."""
    return round(run.history[-1]["seconds"], 1)


def write(path: Path, text: str) -> None:
    """Write a file in one piece, so that a kill leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    temporary.replace(path)
