"""The virtual environment of the other libraries, which this one never depends on."""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).with_name("rivals.txt")
VERSIONS = """
import importlib.metadata, json, sys

def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


class UnavailableError(Exception):
    """The environment cannot be made; the message is one line."""


def prepare(folder: Path) -> dict[str, str]:
    """Make the environment in `folder`, unless it is there.

    Returns:
        The versions in it, by name.

    Raises:
        UnavailableError: It cannot be made.
    """
    wanted = dict(line.split("==") for line in PINS.read_text().split())
    found = installed(folder, list(wanted))
    if not is_complete(wanted, found):
        print(f"Making the environment of the rivals in {folder} ({', '.join(PINS.read_text().split())}) ...", flush=True)
        if not interpreter(folder).exists():
            _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(interpreter(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PINS)])
        found = installed(folder, list(wanted))
    return {name: version or "none" for name, version in found.items()}


def interpreter(folder: Path) -> Path:
    """The environment's Python."""
    return folder.absolute() / "bin" / "python"


def installed(folder: Path, names: list[str]) -> dict[str, str | None]:
    """The versions of packages in the environment, None for one that is not there."""
    if not interpreter(folder).exists():
        return dict.fromkeys(names)
    return json.loads(_call([str(interpreter(folder)), "-c", VERSIONS, *names]))


def is_complete(wanted: dict[str, str], found: dict[str, str | None]) -> bool:
    """Whether all versions are as wanted, builds (the part after a +) apart."""
    return all((found[name] or "").partition("+")[0] == version for name, version in wanted.items())


def _call(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise UnavailableError(str(error)) from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or [f"{command[0]} failed"]
        raise UnavailableError(next((line for line in lines if "ERROR" in line), lines[-1])) from None
