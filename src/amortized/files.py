"""Writing files so that a crash leaves the old one or the new one, never half of either."""

import os
import tempfile
from pathlib import Path

from amortized.errors import InputError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a whole file: to a temporary one beside it, synced to the disk, then renamed over it.

    Args:
        path: The file, in a folder that exists.
        content: All of it; text is encoded as UTF-8.

    Raises:
        InputError: The folder cannot be written to, or the disk is full; what stood there before still does.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes a file that none but its owner can read
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise InputError(
            f"cannot write '{path}': {error.strerror}; give a path on a disk with room that you may write to."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
