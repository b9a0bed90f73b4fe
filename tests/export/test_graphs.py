import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Distribution

import amortized as am
from amortized.cli import main
from amortized.errors import InputError
from amortized.export import export
from amortized.export.parts import Part, decoder_of, encoder_of
from amortized.export.taking import plain, rows_of
from amortized.export.tracing import check, trace
from amortized.networks import MLP
from amortized.report.view import View

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

QUICK = {
    "mlp": {},
    "conditional convolutional": {"network": "conv", "context": "label"},
    "flow": {"posterior": "planar"},
}
SLOW = {
    "iaf": {"posterior": "iaf"},
    "spline": {"posterior": "spline"},
    "sylvester": {"posterior": "sylvester"},
    "full-gaussian": {"posterior": "full-gaussian"},
    "point": {"posterior": "delta"},
    "mixture": {"posterior": "mixture"},
    "sphere": {"posterior": "vmf"},
    "classes": {"posterior": "categorical"},
    "bits": {"posterior": "bernoulli"},
    "top-down": {"hierarchy": "top-down"},
    "bottom-up": {"hierarchy": "bottom-up"},
    "ladder": {"hierarchy": "ladder"},
    "convolutional": {"network": "conv"},
    "conditional": {"context": "label"},
    **{
        kind: {"likelihood": kind}
        for kind in (
            "gaussian",
            "student-t",
            "categorical",
            "ordinal",
            "binomial",
            "logistic-mixture",
            "negative-binomial",
            "zinb",
        )
    },
}
CASES = [
    *(pytest.param(options, id=name) for name, options in QUICK.items()),
    *(pytest.param(options, id=name, marks=pytest.mark.slow) for name, options in SLOW.items()),
]


def fitted(**options):
    return am.fit("digits", latent_dim=3, steps=2, quiet=True, **options)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Fits a model and exports it, each kind once."""
    made = {}

    def once(to, **options):
        key = to, *options.items()
        if key not in made:
            run = fitted(**options)
            made[key] = run, run.export(to, tmp_path_factory.mktemp(to))
        return made[key]

    return once


@pytest.fixture(scope="module")
def run():
    return fitted()


def rows(run, count):
    batch = run.rows(n=count)
    given = {"x": batch.x.numpy()} | {name: value.numpy() for name, value in batch.context.items()}
    return batch, given


def agrees(got, wanted, tolerance=1e-4):
    wanted = wanted.detach().numpy()
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


def called(path, given, name):
    """One output of an ONNX file."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([name], {entry.name: given[entry.name] for entry in session.get_inputs()})[0]


def center(q):
    return am.distributions.center(q)


@pytest.mark.parametrize("options", CASES)
def test_onnx_says_what_the_model_says_for_any_number_of_rows(options, exported):
    run, made = exported("onnx", **options)
    assert [file.name for file in made.files] == ["encoder.onnx", "decoder.onnx"]
    assert max(made.differences.values()) < 1e-5
    for count in (2, 29):
        batch, given = rows(run, count)
        given["noise"] = np.zeros((count, 3), np.float32)
        with torch.no_grad():
            q = run.model.posterior(batch)
            z = am.distributions.representative(q)
            x = center(run.model.decode(z, batch.context))
        first = onnxruntime.InferenceSession(str(made.files[0])).get_outputs()[0].name
        agrees(called(made.files[0], given, first), center(q))
        agrees(called(made.files[1], given | {"z": z.numpy()}, "x"), x)


@pytest.mark.parametrize("options", CASES)
def test_a_torch_program_says_what_the_model_says_for_any_number_of_rows(options, exported):
    run, made = exported("torch", **options)
    encoder, decoder = (torch.export.load(str(file)).module() for file in made.files)
    batch, _ = rows(run, 29)
    noise = [torch.zeros(29, 3)] if "posterior" in options and hasattr(run.model.posterior(batch), "transform") else []
    with torch.no_grad():
        q = run.model.posterior(batch)
        z = am.distributions.representative(q)
        agrees(encoder(batch.x, *batch.context.values(), *noise)[0].numpy(), center(q))
        agrees(decoder(z, *batch.context.values())[0].numpy(), center(run.model.decode(z, batch.context)))


def test_a_program_needs_torch_alone(exported):
    _, made = exported("torch")
    program = (
        "import sys, torch; from pathlib import Path;"
        f"x = torch.export.load({str(made.files[1])!r}).module()(torch.zeros(4, 3))[0].numpy();"
        "print(tuple(x.shape), 'amortized' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "(4, 8, 8) False"


def test_missing_entries_are_nan(exported):
    run, made = exported("onnx")
    batch, given = rows(run, 4)
    observed = torch.rand(batch.x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    with torch.no_grad():
        wanted = run.model.posterior(am.Batch(torch.where(observed, batch.x, 7.0), observed=observed)).mean
    given["x"] = np.where(observed.numpy(), given["x"], np.nan)
    agrees(called(made.files[0], given, "mean"), wanted)


def test_the_draw_of_a_flow_is_distributed_as_the_posterior(tmp_path):
    run = fitted(posterior="radial")
    part = encoder_of(plain(run.model), run.rows(n=1))
    assert part.outputs == ("center", "draw")
    noise = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pushed = part.module(part.inputs["x"].expand(20_000, 8, 8), noise)[1]
        torch.manual_seed(0)
        drawn = run.model.posterior(part.inputs["x"]).sample((20_000,))[:, 0]
    error = (pushed.var(0) / 20_000 + drawn.var(0) / 20_000).sqrt()
    assert ((pushed.mean(0) - drawn.mean(0)).abs() < 4 * error).all()
    assert ((pushed.std(0) / drawn.std(0)).log().abs() < 4 / 20_000**0.5 * 2).all()


def test_a_graph_says_what_it_is_about_and_nothing_of_this_machine(exported):
    (encoder, decoder), (program, _) = (exported(to, **QUICK["conditional convolutional"])[1].files for to in ("onnx", "torch"))
    about = json.loads(onnxruntime.InferenceSession(str(decoder)).get_modelmeta().custom_metadata_map["amortized"])
    assert about["inputs"] == {"z": {"shape": ["batch", 3], "dtype": "float32"}, "label": {"shape": ["batch"], "dtype": "int64"}}
    assert about["outputs"]["x"] == {"shape": ["batch", 8, 8], "dtype": "float32"}
    assert about["conditions"]["label"]["classes"] == 10
    extra = {"amortized.json": ""}
    torch.export.load(str(program), extra_files=extra)
    assert json.loads(extra["amortized.json"])["preprocessing_inside"] == "Standardize"
    for file in (encoder, decoder, program):
        content = file.read_bytes()
        assert b"site-packages" not in content
        assert __file__.split("/tests/")[0].encode() not in content


def test_the_model_is_left_as_it_was(run, tmp_path):
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    validates = Distribution._validate_args
    run.export("torch", tmp_path)
    assert Distribution._validate_args == validates
    assert not run.model.training
    assert set(run.model.parts) == {"posterior", "prior", "likelihood"}
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_a_graph_that_differs_is_refused(run):
    part = encoder_of(plain(run.model), run.rows(n=17))
    assert check(part, part.module, "copy") == 0
    with pytest.raises(InputError, match=r"the copy of the encoder differs from torch by 1\.0e-03 .* 'mean' with 1 rows"):
        check(part, lambda *given: [value * 1.001 for value in part.module(*given)], "copy")
    with pytest.raises(InputError, match="by nan|by inf"):
        check(part, lambda *given: [value * torch.nan for value in part.module(*given)], "copy")


def test_what_has_no_mean_is_left_out_with_its_reason(tmp_path):
    options = {"model.likelihood.layers": "1", "model.likelihood.channels": "4"}
    made = fitted(likelihood="pixelcnn", **options).export("torch", tmp_path)
    assert [file.name for file in made.files] == ["encoder.pt2"]
    assert "likelihood 'pixelcnn' has no mean" in made.left_out["decoder"]


def test_what_climbs_by_gradients_is_left_out_with_its_reason(tmp_path):
    made = fitted(posterior="semi-amortized").export("torch", tmp_path)
    assert [file.name for file in made.files] == ["decoder.pt2"]
    assert "SemiAmortized climbs the bound" in made.left_out["encoder"]


class Choosing(nn.Module):
    out_features = 3

    def forward(self, x):
        return x[:, :3] if x.sum() > 0 else x[:, 3:6]


class Counting(nn.Module):
    out_features = 3

    def forward(self, x):
        return torch.stack([x.reshape(len(x), -1)[:, 0]] * 3, 1)


def composed(network):
    return am.VAE(
        am.priors.StandardNormal(2),
        am.posteriors.DiagonalGaussian(network, event=2),
        am.likelihoods.Gaussian(MLP(2, [4]), event=6),
    ).eval()


def test_a_network_that_looks_at_values_is_refused_by_name():
    part = encoder_of(composed(Choosing()), am.Batch(torch.randn(17, 6)))
    with pytest.raises(InputError, match="the encoder cannot be exported: torch.export cannot trace posterior DiagonalGaussian"):
        trace(part)


def test_a_network_that_counts_its_rows_is_traced_by_its_code():
    part = encoder_of(composed(Counting()), am.Batch(torch.randn(17, 6)))
    assert check(part, trace(part).module(), "program") < 1e-6


def test_a_condition_may_be_called_as_an_input_is():
    model = plain(fitted(context="label").model)
    part = decoder_of(model, torch.randn(17, 3), {"label": torch.zeros(17, dtype=torch.long)})
    assert list(part.inputs) == ["z", "label"]
    assert isinstance(part, Part)
    names = am.export.parts.input_name("x"), am.export.parts.input_name("label")
    assert names == ("condition_x", "label")


def test_without_data_the_rows_are_drawn_from_the_model(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    run = am.fit(str(tmp_path / "data.npz"), latent_dim=2, steps=1, quiet=True, out=tmp_path / "run")
    (tmp_path / "data.npz").unlink()
    run = am.load_run(tmp_path / "run")
    assert rows_of(View(run)).x.shape == (17, 4)
    assert len(run.export("torch").files) == 2
    assert (tmp_path / "run" / "torch" / "decoder.pt2").exists()


def test_wrong_wishes_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="cannot export to 'onx'; did you mean 'onnx'"):
        export(run, "onx", tmp_path)
    with pytest.raises(InputError, match="has no folder to export into"):
        export(run, "onnx")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to .*/file'"):
        export(run, "torch", tmp_path / "file")
    with pytest.raises(InputError, match=r"written to a file \.html; out is .*name it e\.g\. .*page\.html"):
        export(run, "html", tmp_path / "page.pdf")


def test_the_command_tells_what_it_wrote(tmp_path, capsys):
    am.fit("digits", latent_dim=3, steps=1, quiet=True, out=tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--to", "torch", "--out", str(tmp_path / "graphs")]) == 0
    told = capsys.readouterr()
    assert "decoder: agrees with torch to" in told.out
    assert f"Wrote {tmp_path / 'graphs' / 'encoder.pt2'}" in told.out
    assert told.err == ""
    assert io.BytesIO((tmp_path / "graphs" / "encoder.pt2").read_bytes()).read(2) == b"PK"
