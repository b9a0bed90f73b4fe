"""How much memory there is: what the machine has free, and what limits leave to this process.

The least of four: the memory that the kernel calls available; the limits of the control groups that the process is in (versions 1
and 2; a container is one), less what is used there and cannot be given back; and the limits that the process has itself, of its
address space (`ulimit -v`) and of its data (`ulimit -d`).
"""

from collections.abc import Iterator
from pathlib import Path

_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
_V2 = ("memory.max", "memory.current", "")


def free_memory(root: Path = Path("/")) -> float:
    """The bytes that this process may still take; infinity where the system does not tell.

    Args:
        root: Where the system's own files are looked for.
    """
    return max(0.0, min(_of_machine(root), *_of_groups(root), *_of_process(root), float("inf")))


def in_words(size: float) -> str:
    """A number of bytes for people: 4.1 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 100 or unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _of_machine(root: Path) -> float:
    return _table(root / "proc" / "meminfo").get("MemAvailable", float("inf"))


def _of_groups(root: Path) -> Iterator[float]:
    """What each group that the process is in leaves to it, those above it included."""
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mounts, names = ("sys/fs/cgroup", "sys/fs/cgroup/unified"), _V2
        elif "memory" in controllers.split(","):
            mounts, names = ("sys/fs/cgroup/memory",), _V1
        else:
            continue
        for mount in mounts:
            inner = Path(path.lstrip("/"))
            for folder in (inner, *inner.parents):  # seen from inside of a container, only the last of them is there
                yield _left(root / mount / folder, *names)


def _left(group: Path, limit: str, used: str, prefix: str) -> float:
    most = _text(group / limit).strip()
    if not most.isdigit():  # no such group, or "max"
        return float("inf")
    counts = dict(line.split() for line in _text(group / "memory.stat").splitlines())
    cached = sum(int(counts.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
    return int(most) - int(_text(group / used).strip() or 0) + cached


def _of_process(root: Path) -> Iterator[float]:
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    status = _table(root / "proc" / "self" / "status")
    for limit, taken in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            yield most - status.get(taken, 0.0)


def _table(path: Path) -> dict[str, float]:
    """The sizes of a file with lines such as `VmSize: 12 kB`, in bytes."""
    lines = (line.split() for line in _text(path).splitlines())
    return {words[0].rstrip(":"): 1024.0 * int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
