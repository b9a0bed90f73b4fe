import pytest
import torch

from amortized.data import Batches, Split, load, make_transform, mean_and_scale, sample_rows, to_batches

DATA = load("digits", context=["label"])


def rows(batches, epoch=0, **options):
    return [batch["index"].tolist() for batch in batches.epoch(epoch, **options)]


def training(**options):
    transform = make_transform(DATA.support, binarize="dynamic")
    return Batches(DATA.train, batch_size=64, transform=transform, **options)


def same(a, b):
    return len(a) == len(b) and all(x.keys() == y.keys() and torch.equal(x["x"], y["x"]) for x, y in zip(a, b, strict=True))


def test_an_epoch_visits_every_row_at_most_once_in_full_batches():
    batches = training()
    visited = rows(batches)
    assert len(visited) == len(batches) == 1437 // 64
    assert {len(batch) for batch in visited} == {64}
    flat = sum(visited, [])
    assert len(set(flat)) == len(flat)


def test_the_order_is_a_function_of_seed_and_epoch():
    assert rows(training(), 3) == rows(training(), 3)
    assert rows(training(), 3) != rows(training(), 4)
    assert rows(training(seed=0), 3) != rows(training(seed=1), 3)


def test_starting_later_sees_the_very_batches_of_the_uninterrupted_epoch():
    whole = list(training().epoch(2))
    torch.rand(7)  # the global generator has no part in it
    assert same(list(training().epoch(2, start=5)), whole[5:])


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    list(training().epoch(0))
    assert torch.equal(state, torch.get_rng_state())


def test_ranks_share_each_batch_of_one_process_in_order():
    whole = rows(training(), 1)
    parts = [rows(training(), 1, rank=rank, world=4) for rank in range(4)]
    assert [sum(shares, []) for shares in zip(*parts, strict=True)] == whole
    assert {len(share) for part in parts for share in part} == {16}


def test_ranks_draw_different_noise():
    grey = Split(torch.full((8, 4, 4), 8), torch.arange(8))
    batches = Batches(grey, batch_size=8, transform=make_transform(DATA.support, binarize="dynamic"))
    first, second = (next(batches.epoch(0, rank=rank, world=2))["x"] for rank in (0, 1))
    assert not torch.equal(first, second)


def test_evaluation_goes_in_order_and_to_the_end():
    batches = to_batches(DATA.valid, batch_size=64, training=False)
    assert isinstance(DATA.valid, Split)
    assert [len(batch) for batch in rows(batches)] == [64, 64, 52]
    assert sum(rows(batches), []) == DATA.valid.index.tolist()
    shares = [sum(rows(batches, rank=rank, world=2), []) for rank in range(2)]
    assert sorted(sum(shares, [])) == DATA.valid.index.tolist()


def test_a_split_smaller_than_one_batch_is_one_batch():
    assert isinstance(DATA.valid, Split)
    batches = Batches(DATA.valid, batch_size=1000)
    assert [sorted(batch) for batch in rows(batches)] == [DATA.valid.index.tolist()]


def test_an_empty_split_has_no_batches():
    empty = load("digits", splits=(1, 0, 0)).test
    assert rows(to_batches(empty, batch_size=8, training=False)) == []


def test_batches_are_float32_with_the_fields_of_their_rows():
    assert isinstance(DATA.train, Split)
    assert DATA.train.labels is not None
    batch = next(to_batches(DATA.train, batch_size=32, training=True, device="cpu").epoch(0))
    position = torch.searchsorted(DATA.train.index, batch["index"])
    assert batch["x"].dtype == torch.float32
    assert torch.equal(batch["x"], DATA.train.x[position].float())
    assert torch.equal(batch["labels"], DATA.train.labels[position])
    assert torch.equal(batch["context"]["label"], batch["labels"])


@pytest.mark.parametrize("how", ["columns", "global", "none"])
def test_standardizing_gives_mean_zero_and_deviation_one(how):
    # A large common offset: the digits that a float32 sum of squares would lose.
    x = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.0]) + 1000
    split = Split(x, torch.arange(5000))
    shift, unit = mean_and_scale(split, how)
    z = (x.double() - shift) / unit
    if how == "columns":
        torch.testing.assert_close(z.mean(0), torch.zeros(3).double(), atol=1e-4, rtol=0)  # float32 keeps 1000 to 3e-5
        torch.testing.assert_close(z.var(0, unbiased=False), torch.tensor([1.0, 1.0, 0.0]).double(), atol=1e-5, rtol=0)
        assert unit[2] == 1
    elif how == "global":
        assert len(shift.unique()) == len(unit.unique()) == 1
        assert z.mean().abs() < 1e-4
        assert z.square().mean().item() == pytest.approx(1, abs=1e-5)
    else:
        assert torch.equal(z, x.double())


def test_sampled_rows_are_distinct_and_decided_by_the_seed():
    first, again, other = (sample_rows(DATA.train, 20, seed)["index"].tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == 20
    assert len(sample_rows(DATA.valid, 10**6)["x"]) == len(DATA.valid)
