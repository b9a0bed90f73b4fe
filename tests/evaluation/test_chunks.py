"""Chunks hold every sample of every datum once, within the memory there is; bf16 is close to float32."""

from typing import Any

import pytest
import torch

import amortized as am
from amortized import InputError
from amortized.evaluation import chunks, evaluate


def model_of(event: int = 12) -> am.VAE:
    torch.manual_seed(0)
    return am.VAE(
        am.priors.StandardNormal(3),
        am.posteriors.DiagonalGaussian(am.networks.MLP(event, [16]), event=3),
        am.likelihoods.Bernoulli(am.networks.MLP(3, [16]), event=event),
    )


def bits(rows: int = 10, event: int = 12) -> torch.Tensor:
    return (torch.rand(rows, event, generator=torch.Generator().manual_seed(0)) < 0.4).float()


@pytest.mark.parametrize("samples", [1, 3, 50, 5000])
@pytest.mark.parametrize("entries", [1, 100, 1200, chunks.CACHE_ENTRIES])
def test_every_datum_is_in_one_chunk_with_samples_in_even_parts(monkeypatch: pytest.MonkeyPatch, entries: int, samples: int):
    monkeypatch.setattr(chunks, "CACHE_ENTRIES", entries)
    model, x = model_of(), bits()
    cut = list(chunks.cut(model, x.split(4), samples))
    assert torch.equal(torch.cat([chunk.x for chunk, _ in cut]), x)
    rows = max(1, min(entries // 12, chunks.MOST_ROWS["cpu"]))
    for chunk, at_once in cut:
        assert len(chunk) == 1 or len(chunk) * samples <= rows
        assert len(chunk) * at_once <= rows
        last = samples - at_once * (-(-samples // at_once) - 1)
        assert at_once - last <= -(-samples // at_once)  # the last part is nearly as large as the others


def test_rows_of_few_entries_are_bounded_too():
    assert chunks.rows_at_once(model_of(2), torch.device("cpu")) == chunks.MOST_ROWS["cpu"]


def test_where_memory_runs_out_the_samples_are_halved_and_all_are_taken():
    tried: list[int] = []

    def add(count: int) -> None:
        tried.append(count)
        if count > 3:
            raise torch.OutOfMemoryError

    chunks.take(10, 8, add)
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    with pytest.raises(torch.OutOfMemoryError):
        chunks.take(10, 8, lambda _: add(4))
    with pytest.raises(RuntimeError, match="another"):
        chunks.take(10, 8, another)


def another(_: int) -> None:
    raise RuntimeError("another reason")


class Greedy(am.Terms):
    """Terms whose weights do not fit into memory either."""

    @property
    def log_w(self) -> torch.Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")


def test_an_evaluation_whose_memory_runs_out_gives_an_estimate_of_all_samples(monkeypatch: pytest.MonkeyPatch):
    model, x = model_of(), bits()
    whole, terms, tried = evaluate(model, [x], samples=400), model.terms, []

    def scarce(batch: Any, *, samples: int = 1, **options: Any):
        tried.append(samples)
        if samples > 200:
            raise torch.OutOfMemoryError
        made = terms(batch, samples=samples, **options)
        return made if samples <= 100 else Greedy(**vars(made))

    monkeypatch.setattr(model, "terms", scarce)
    halved = evaluate(model, [x[:1]], samples=400)
    assert max(tried) > 200
    assert float(whole.distortion[0]) == pytest.approx(float(halved.distortion[0]), rel=0.2)  # no sample was counted twice
    assert halved.nll is not None
    assert whole.nll is not None
    assert whole.nll_variance is not None
    z = (halved.nll - whole.nll[:1]) / (2 * whole.nll_variance[:1]).sqrt()
    assert z.abs().max() < 5


def test_bf16_rounds_the_products_and_nothing_else():
    model, x = model_of(), bits(100)
    fine, coarse = evaluate(model, [x], samples=500), evaluate(model, [x], samples=500, precision="bf16")
    assert fine.nll is not None
    assert coarse.nll is not None
    assert coarse.nll.dtype == torch.float64
    assert not torch.equal(fine.nll, coarse.nll)
    # The noise is the same, so that what differs is 12 logits of 8 bits: of about 1, with an error of 2^-9 each.
    torch.testing.assert_close(coarse.nll, fine.nll, rtol=0, atol=12 * 2**-8)
    with pytest.raises(InputError, match="precision of an evaluation cannot be 'bf17'"):
        evaluate(model, [x], precision="bf17")  # pyright: ignore[reportArgumentType]


def test_a_value_of_all_chunks_is_known_where_it_is_known_of_each():
    pieces = [torch.zeros(1, 2), torch.ones(1, 3)]
    torch.testing.assert_close(chunks.joined(pieces, 1), torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0]]))
    assert chunks.joined([*pieces, None]) is None
    assert chunks.joined([]) is None
