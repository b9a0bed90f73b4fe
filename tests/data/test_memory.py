"""How much memory is said to be free, from the files in which systems say so."""

import resource
from pathlib import Path

import pytest

from amortized.data.memory import free_memory, in_words


@pytest.fixture
def system(tmp_path: Path):
    """Writes the files of a system; a machine with 8 MiB available."""

    def write(**files: str) -> Path:
        for name, text in ({"proc/meminfo": "MemTotal: 99 kB\nMemAvailable: 8192 kB\n"} | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_a_system_that_tells_nothing_has_no_end(tmp_path: Path):
    assert free_memory(tmp_path) == float("inf")


def test_what_the_machine_has(system):
    assert free_memory(system()) == 2**23


def test_a_group_of_version_1_without_what_it_can_give_back(system):
    group = "sys/fs/cgroup/memory/job/inner"
    root = system(
        **{
            "proc/self/cgroup": "5:cpu:/job\n4:memory:/job/inner\n",
            f"{group}/memory.limit_in_bytes": "1000\n",
            f"{group}/memory.usage_in_bytes": "900\n",
            f"{group}/memory.stat": "total_inactive_file 500\ntotal_active_file 100\n",
        }
    )
    assert free_memory(root) == 700
    (root / "sys/fs/cgroup/memory/job/memory.limit_in_bytes").write_text("300")  # the group above holds for it, too
    assert free_memory(root) == 300


def test_a_group_of_version_2_as_seen_in_a_container(system):
    files = {"memory.max": "5000\n", "memory.current": "4000\n", "memory.stat": "inactive_file 50\nactive_file 0\n"}
    root = system(**{"proc/self/cgroup": "0::/far/away\n"} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert free_memory(root) == 1050
    (root / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert free_memory(root) == 2**23


def test_limits_of_the_process(system, monkeypatch: pytest.MonkeyPatch):
    root = system(**{"proc/self/status": "VmSize: 100 kB\nVmData: 60 kB\n"})
    limits = {resource.RLIMIT_AS: 200 * 1024, resource.RLIMIT_DATA: 90 * 1024}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], -1))
    assert free_memory(root) == 30 * 1024


def test_sizes_in_words():
    assert [in_words(size) for size in (12, 21_600, 999_000, 4.1e9, 5e12)] == [
        "12 bytes",
        "21.6 kB",
        "999 kB",
        "4.1 GB",
        "5.0 TB",
    ]
