# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import base64
import http.client
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import amortized as am
from amortized import InputError, fit, train
from amortized.cli import main
from amortized.explore import live as live_module
from amortized.explore.glimpses import Glimpses
from amortized.explore.live import Feed, Live, Told
from amortized.explore.live_server import showing
from amortized.objectives import elbo
from amortized.training.checkpoints import read_tensors
from amortized.watching import Watching

SMALL: dict[str, Any] = {"latent_dim": 2, "model.network.hidden": [8], "batch_size": 16, "epochs": 3}


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 12))
    return np.rint(255 / (1 + np.exp(-factors))).astype(np.uint8).reshape(80, 4, 3)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def request(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, str, Mapping[str, str]]:
    host = address.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=10)
    with closing(connection):
        connection.request(method, path, headers={"Host": host} | headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}


def messages(text: str) -> list[dict[str, Any]]:
    """What a whole stream of events told."""
    return [json.loads(data) for data in re.findall(r"^data: (\{.+\})$", text, re.MULTILINE)]


class Heard(threading.Thread):
    """Reads the stream of a run to its end, as a page does."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        self.port, self.told = port, []
        self.start()

    def run(self) -> None:
        for _ in range(2000):
            try:
                self.told = messages(request(f"http://127.0.0.1:{self.port}/", "/events")[1])
                return
            except OSError:
                time.sleep(0.005)

    def all(self) -> list[dict[str, Any]]:
        self.join(20)
        return self.told


@pytest.mark.parametrize("options", [{"training.ema": 0.9}, {"binarize": "dynamic", "training.patience": 1, "training.lr": 0.1}])
def test_a_run_that_is_watched_ends_in_the_same_bits(options: dict[str, Any], images: np.ndarray, tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=images)
    made = {"latent_dim": 2, "epochs": 6, "quiet": True, "batch_size": 16, **options}
    plain = fit(tmp_path / "x.npz", out=tmp_path / "plain", **made)
    live_module.LEAST_SECONDS, before = 0.0, live_module.LEAST_SECONDS
    try:
        shown = fit(tmp_path / "x.npz", out=tmp_path / "shown", live=free_port(), **made)
    finally:
        live_module.LEAST_SECONDS = before
    assert [{**row, "seconds": 0} for row in plain.history] == [{**row, "seconds": 0} for row in shown.history]
    first, second = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("plain", "shown"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert (tmp_path / "plain" / "config.yaml").read_text() == (tmp_path / "shown" / "config.yaml").read_text()


def test_a_page_is_told_the_run_from_its_first_row_to_its_end(images: np.ndarray, tmp_path: Path, capsys: Any):
    port = free_port()
    heard = Heard(port)
    run = fit(images, live=port, out=tmp_path / "run", **SMALL)
    told = heard.all()
    assert told[0]["about"]["parts"]["prior"] == "normal"
    assert told[0]["about"]["folder"] == str(tmp_path / "run")
    rows: list[Any] = []
    for news in told:
        rows = rows[: news["from"]] + news["rows"]
    assert rows == [dict(row) for row in run.history]
    last = told[-1]
    assert (last["state"], last["step"], last["total"]) == ("finished", run.history[-1]["step"], run.history[-1]["step"])
    assert last["metrics"]["elbo_nats"]["value"] == run.metrics["test"]["elbo_nats"]["value"]
    assert f"Training is shown live at http://127.0.0.1:{port}/\n" in capsys.readouterr().out
    lines = [line for news in told for line in news["lines"]]
    assert lines[-1].startswith("Done: all")
    pictures = [news["pictures"] for news in told if "pictures" in news][-1]
    assert pictures["shape"] == [4, 3, 1]
    final = run.reconstruct(split="valid")[: pictures["count"]]
    drawn = np.frombuffer(base64.b64decode(pictures["made"]), np.uint8).reshape(final.shape)
    assert np.abs(drawn - final).max() <= 0.5 + 1e-4  # of 255 levels: the picture is of the weights that were kept


def test_a_run_that_goes_on_is_shown_with_what_was_before(images: np.ndarray, tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=images)
    first = fit(tmp_path / "x.npz", out=tmp_path / "run", quiet=True, **SMALL)
    port = free_port()
    heard = Heard(port)
    fit(resume=tmp_path / "run", epochs=5, quiet=True, live=port)
    told = heard.all()
    rows = [row["step"] for news in told for row in news["rows"]]
    assert rows == sorted(set(rows))
    assert rows[: len(first.history)] == [row["step"] for row in first.history]
    assert told[-1]["done"] == first.history[-1]["step"]


def test_a_run_that_fails_says_so_on_the_page(images: np.ndarray):
    port, calls = free_port(), []

    def fails(terms: Any) -> torch.Tensor:
        calls.append(1)
        return elbo(terms) * (float("nan") if len(calls) > 20 else 1.0)

    heard = Heard(port)
    with pytest.raises(InputError, match="not finite"):
        train(hand_made(), images.astype(np.float32), fails, quiet=True, epochs=50, batch_size=16, live=port)
    last = heard.all()[-1]
    assert last["state"] == "failed"
    assert "'objective' is not finite at step" in last["why"]


def hand_made() -> am.VAE:
    torch.manual_seed(0)
    return am.VAE(
        am.priors.StandardNormal(2),
        am.posteriors.DiagonalGaussian(am.networks.MLP((4, 3), [8]), event=2),
        am.likelihoods.Gaussian(am.networks.MLP(2, [8]), event=(4, 3)),
    )


def test_each_page_is_told_what_it_does_not_know_and_no_number_that_json_lacks():
    feed, first, second = Feed({"data": "digits"}), Told(), Told()
    assert feed.news(first) == {"state": "starting", "from": 0, "rows": [], "lines": [], "about": {"data": "digits"}}
    assert feed.news(first) is None
    feed.tell(rows=[{"step": 1, "elbo": -np.inf}], line="One.", shown={"elbo": float("nan")})
    feed.tell(rows=[{"step": 2, "elbo": -1.0}], pictures={"kind": "none"})
    news = feed.news(first)
    assert news is not None
    assert (news["from"], news["rows"]) == (0, [{"step": 1, "elbo": None}, {"step": 2, "elbo": -1.0}])
    assert (news["lines"], news["pictures"], news["shown"]) == (["One."], {"kind": "none"}, {"elbo": None})
    feed.tell(rows=[{"step": 3, "elbo": 0.0}])
    news = feed.news(first)
    assert news is not None
    assert (news["from"], news["rows"]) == (2, [{"step": 3, "elbo": 0.0}])
    assert "pictures" not in news
    late = feed.news(second)
    assert late is not None
    assert [row["step"] for row in late["rows"]] == [1, 2, 3]


def test_pictures_take_a_hundredth_of_the_time_at_most():
    class Slow:
        made = 0

        def make(self) -> dict[str, Any]:
            self.made += 1
            time.sleep(0.02)
            return {"kind": "none"}

    slow = Slow()
    live = Live(Feed({}), slow)
    live.begin(100, 0, [])
    began = time.perf_counter()
    while time.perf_counter() - began < 0.1:
        live.look()
    assert slow.made == 1
    assert live._due - began >= 0.02 / live_module.SHARE
    live.__exit__(None, None, None)
    assert slow.made == 2  # the last of them shows what was kept


def glimpsed(run: am.Run, *, valid: bool = True) -> Mapping[str, Any]:
    from amortized.recipes import known_transform, make_batches

    batches = make_batches(run.source.valid, run.recipe, known_transform(run.recipe, run.spec)) if valid else None
    return Glimpses(run.model, run.spec, batches, 0).make()


def test_a_table_is_shown_by_rows_with_the_columns_that_vary_most(tmp_path: Path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 12)).astype(np.float32) * np.linspace(0.1, 3, 12, dtype=np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    run = fit(x, quiet=True, **SMALL | {"epochs": 1})
    shown = glimpsed(run)
    assert (shown["kind"], shown["width"]) == ("rows", 12)
    data = np.array(shown["data"])
    assert data.shape == np.array(shown["made"]).shape == np.array(shown["samples"]).shape == (4, 8)
    valid = run.rows(split="valid", n=4)
    observed = torch.ones_like(valid.x).bool() if valid.observed is None else valid.observed
    whole = np.where(observed.numpy(), valid.x.numpy(), np.nan)
    most = sorted(np.argsort(-np.nanstd(whole, 0))[:8])
    assert shown["columns"] == [str(number) for number in most]
    np.testing.assert_array_equal(data, whole[:, most].astype(float))
    assert np.isnan(data).any()


def test_samples_of_a_conditional_model_have_the_conditions_of_the_data(images: np.ndarray, tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=images, y=np.arange(80) % 3)
    run = fit(tmp_path / "x.npz", context="label", quiet=True, **SMALL)
    shown = glimpsed(run)
    assert shown["conditions"] == ["label"]
    context = run.rows(split="valid", n=shown["count"]).context
    wanted = am.tasks.sample(run.model, shown["count"], context=context, mean=True, seed=0).numpy()
    drawn = np.frombuffer(base64.b64decode(shown["samples"]), np.uint8).reshape(wanted.shape)
    assert np.abs(drawn - wanted).max() <= 0.5 + 1e-4
    assert glimpsed(run, valid=False)["conditions"] == ["label"]


@pytest.mark.parametrize(
    "options", [{"posterior": "categorical"}, {"posterior": "vmf"}, {"hierarchy": "ladder"}, {"likelihood": "gaussian"}]
)
def test_models_of_all_kinds_are_shown_without_a_trace(options: dict[str, Any], images: np.ndarray):
    small = {name: value for name, value in SMALL.items() if "hierarchy" not in options or name in ("batch_size", "epochs")}
    run = fit(images, quiet=True, steps=2, **small, **options)
    model: Any = run.model
    model.train()
    before = torch.random.get_rng_state()
    first, second = glimpsed(run), glimpsed(run)
    assert first["kind"] == "images"
    assert first == second
    assert torch.equal(before, torch.random.get_rng_state())
    assert model.training
    assert "data" not in glimpsed(run, valid=False)


def test_a_model_that_cannot_be_shown_is_said_so_once_and_training_goes_on(images: np.ndarray):
    run = fit(images, quiet=True, **SMALL)
    calls = []

    def refuse(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise InputError("this decoder has no mean.")

    run.model.sample = refuse
    glimpses = Glimpses(run.model, run.spec, None, 0)
    assert glimpses.make() == glimpses.make() == {"kind": "none", "why": "this decoder has no mean."}
    assert len(calls) == 1


@contextmanager
def served() -> Iterator[tuple[Feed, str]]:
    feed = Feed({"data": "digits"})
    with showing(feed, free_port()) as address:
        yield feed, address


def test_the_server_has_its_files_and_nothing_else():
    with served() as (_, address):
        for path, kind in (
            ("/", "text/html"),
            ("/live.css", "text/css"),
            ("/live.js", "text/javascript"),
            ("/curves.js", "text/javascript"),
        ):
            status, _, headers = request(address, path)
            assert (status, headers["content-type"].partition(";")[0]) == (200, kind)
            assert headers["content-security-policy"].startswith("default-src 'self'")
        for path in ("/live_server.py", "/../live.py", "/%2e%2e/live.py", "/live.js/", "/docs", "/openapi.json"):
            assert request(address, path)[0] == 404, path
        assert request(address, "/events", Host="evil.example:80")[0] == 421
        assert request(address, "/events", "POST", Origin="http://evil.example")[0] == 403
        assert request(address, "/events", "DELETE")[0] == 405
        feed_ended = time.monotonic()
    assert time.monotonic() - feed_ended < 2  # nobody listens, so nobody is waited for


def test_a_port_that_is_taken_is_passed_over(capsys: Any, images: np.ndarray):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fit(images, live=port, **SMALL | {"epochs": 1})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "shown live" in line]
    found = re.fullmatch(rf"Training is shown live at http://127\.0\.0\.1:(\d+)/ \(port {port} is taken\)", line)
    assert found is not None
    assert port < int(found[1]) < port + 20


def test_what_is_missing_or_no_port_is_refused_before_anything_is_written(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for port in (70000, -1, "8000"):
        with pytest.raises(InputError, match=r"give True, or a port from 1 to 65535"):
            fit(images, live=port, out=tmp_path / "run", quiet=True, **SMALL)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(InputError, match=r"live needs FastAPI and uvicorn: pip install 'amortized\[explore\]'"):
        fit(images, live=True, out=tmp_path / "run", quiet=True, **SMALL)
    assert not (tmp_path / "run").exists()


def test_the_command_line_has_the_same(images: np.ndarray, tmp_path: Path, capsys: Any):
    np.savez(tmp_path / "x.npz", x=images)
    port, out = free_port(), tmp_path / "run"
    heard = Heard(port)
    words = ["fit", str(tmp_path / "x.npz"), "--epochs", "2", "--latent-dim", "2", "--out", str(out)]
    assert main([*words, "--live-port", str(port), "--logger", "tensorboard"]) == 0
    assert heard.all()[-1]["state"] == "finished"
    assert list((out / "tensorboard").glob("events.*"))
    assert f"http://127.0.0.1:{port}/" in capsys.readouterr().out
    assert main([*words[:-1], str(tmp_path / "other"), "--live-port", "0"]) == 2
    assert main([*words[:-1], str(tmp_path / "other"), "--logger", "neptune"]) == 2
    assert "unknown logger 'neptune'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_of_several_processes_only_the_first_serves(images: np.ndarray):
    fabric = SimpleNamespace(global_rank=1, loggers=[object()])
    with Watching(quiet=True, live=free_port()).begun(None, "images", None, fabric) as watched:
        reporter: Any = watched.reporter
        assert len(reporter.reporters) == 1


def test_the_page_shows_a_run_while_it_goes_on_and_after(opened: Any, tmp_path: Path, capsys: Any):
    from playwright.sync_api import expect

    port, gate, calls, raised = free_port(), threading.Event(), [], []

    def paced(terms: Any) -> torch.Tensor:
        """The ELBO; after three epochs it waits until the page was looked at."""
        calls.append(1)
        if len(calls) == 40:
            gate.wait(60)
        return elbo(terms)

    def fitted() -> None:
        model = am.VAE(
            am.priors.StandardNormal(2),
            am.posteriors.DiagonalGaussian(am.networks.MLP((8, 8), [32]), event=2),
            am.likelihoods.Binomial(am.networks.MLP(2, [32]), event=(8, 8), levels=17),
        )
        try:
            train(model, "digits", paced, epochs=12, live=port, out=tmp_path / "run")
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=fitted)
    thread.start()
    while "shown live" not in capsys.readouterr().out and thread.is_alive():
        time.sleep(0.02)
    page = opened.page
    page.goto(f"http://127.0.0.1:{port}/")
    state = page.locator("#state")
    expect(state).to_have_text("training", timeout=20_000)
    path = page.locator(".curve path.valid").first
    expect(path).to_be_attached(timeout=20_000)
    expect(page.locator(".curve")).to_have_count(3)
    before = path.get_attribute("d").count("L")
    expect(page.locator("#pictures canvas")).to_have_count(30)
    assert page.locator("#bar").get_attribute("aria-valuenow") not in ("0", "100")
    assert page.locator("dt", has_text="time left").count() == 1
    gate.set()
    expect(state).to_have_text("finished", timeout=20_000)
    thread.join(20)
    assert not raised
    assert before < path.get_attribute("d").count("L") == 11
    assert str(tmp_path / "run") in page.locator("#ending").inner_text()
    page.locator("#late").click()
    assert path.get_attribute("d").count("L") == 6
    page.locator(".curve svg").first.hover()
    assert page.locator(".curve circle").count() == 6
    time.sleep(0.3)
    expect(state).to_have_text("finished")  # and it is not asked for any more
    assert opened.complaints == []
    assert opened.abroad == []


def test_a_server_that_is_gone_is_said_so_and_what_was_shown_stays(opened: Any):
    from playwright.sync_api import expect

    feed = Feed({"data": "digits", "parts": {"prior": "normal"}, "folder": None})
    with showing(feed, free_port()) as address:
        feed.tell(state="training", total=9, step=3, rows=[{"step": 3, "epoch": 1, "seconds": 0.1, "train_elbo_nats": -3.0}])
        opened.page.goto(address)
        expect(opened.page.locator("#state")).to_have_text("training")
    expect(opened.page.locator("#state")).to_have_text("the server is gone")
    expect(opened.page.locator(".curve b")).to_have_text("ELBO")
