"""What a user waits for before anything is computed, each time in a fresh process."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def python(statement: str) -> Callable[[int], int]:
    """An interpreter that runs a statement."""

    def run(amount: int) -> int:
        for _ in range(amount):
            subprocess.run([sys.executable, "-c", statement], check=True)
        return amount

    return run


def first_step() -> Callable[[int], tuple[float, float]]:
    """`amortized fit digits`, from the command to the checkpoint that it was told to write after every step."""

    def run(amount: int) -> tuple[float, float]:
        return amount, sum(_seconds_to_first_step() for _ in range(amount))

    return run


def _seconds_to_first_step() -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        checkpoint = out / "checkpoints" / "last.safetensors"
        command = [sys.executable, "-m", "amortized", "fit", "digits", "--out", str(out), "--training.checkpoint-seconds", "0"]
        began = time.perf_counter()
        process = subprocess.Popen(command)
        try:
            while not checkpoint.exists():
                if process.poll() is not None:
                    raise RuntimeError("the command ended before its first checkpoint")
                time.sleep(0.001)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()
