import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

import amortized as am
from amortized.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("explored") / "run"
    am.fit("digits", latent_dim=2, epochs=1, quiet=True, out=path)
    return path


@pytest.mark.usefixtures("usual_ctrl_c")
@pytest.mark.skipif(os.name == "nt", reason="no signals of this kind there")
def test_the_command_serves_the_page_until_ctrl_c(folder):
    command = [sys.executable, "-m", "amortized", "explore", str(folder), "--no-browser", "--port", "0", "--accelerator", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("The explorer is at http://127.0.0.1:")
        with urllib.request.urlopen(f"{line.split()[4]}api/description", timeout=20) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken_is_told_in_one_line(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["explore", str(folder), "--no-browser", "--port", port]) == 2
    assert "give another --port, or 0 for a free one." in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--port", "70000"], ["--port", "1.5"], ["--split", "all"], ["--host", "192.0.2.1"]])
def test_wrong_words_are_answered_in_one_line(folder, words, capsys):
    assert main(["explore", str(folder), "--no-browser", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_split_that_is_not_there_is_refused(folder, capsys, monkeypatch):
    monkeypatch.setattr("amortized.explore.held.View.batch", property(lambda view: view.run.rows(None, "unknown")))
    assert main(["explore", str(folder), "--no-browser", "--split", "valid"]) == 2
    assert "unknown split" in capsys.readouterr().err
