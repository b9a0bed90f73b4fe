import pytest

from amortized.cli import main

SMALL = ["--epochs", "1", "--latent-dim", "2", "--model.network.hidden", "[16]", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["fit", "digits", *SMALL, "--out", str(path)]) == 0
    return path
