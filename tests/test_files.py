import errno
import os
import stat
from pathlib import Path

import pytest

from amortized import InputError
from amortized.files import write_atomically


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_whole_and_nothing_else(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "metrics.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(InputError, match=r"cannot write '.*metrics.json': No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["metrics.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_write_that_the_disk_refuses_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened = os.fdopen

    def on_a_full_disk(handle: int, mode: str):
        os.close(handle)
        return opened(os.open("/dev/full", os.O_WRONLY), mode)

    monkeypatch.setattr(os, "fdopen", on_a_full_disk)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="No space left on device"):
        write_atomically(path, b"new" * 10_000)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_an_interruption_in_the_middle_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", "new")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="No such file or directory; give a path"):
        write_atomically(tmp_path / "nowhere" / "x", "text")


def test_a_written_file_has_the_permissions_of_any_other(tmp_path: Path):
    write_atomically(tmp_path / "x", "text")
    (tmp_path / "y").write_text("text")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == stat.S_IMODE((tmp_path / "y").stat().st_mode)
