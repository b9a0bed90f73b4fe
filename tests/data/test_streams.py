from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from amortized.data import LoaderBatches, load, sample_rows, to_batches
from amortized.errors import InputError


class Noisy(Dataset):
    """Rows whose first entry is the row number and whose second is random at each visit."""

    classes = ("even", "odd")

    def __init__(self, n: int = 40):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index) -> Any:
        return torch.stack([torch.tensor(float(index)), torch.rand(())]), index % 2


class Named(Noisy):
    def __getitem__(self, index):
        x, label = super().__getitem__(index)
        return {"x": x, "labels": label, "context": {"dose": index / self.n}}


def visits(batches, epoch=0, **options):
    return [batch["x"] for batch in batches.epoch(epoch, **options)]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def loader(**options):
    return DataLoader(Noisy(), batch_size=8, **options)


def training(source):
    return to_batches(load(source).train, batch_size=8, training=True)


def test_a_dataset_is_split_by_row_and_read_by_number():
    data = load(Noisy())
    assert [len(split) for split in data.splits.values()] == [32, 4, 4]
    seen = []
    for split in data.splits.values():
        for batch in to_batches(split, batch_size=8, training=False).epoch(0):
            assert torch.equal(batch["x"][:, 0].long(), batch["index"])
            assert torch.equal(batch["labels"], batch["index"] % 2)
            seen += batch["index"].tolist()
    assert sorted(seen) == list(range(40))
    assert data.label_names == ("even", "odd")
    assert data.support.kind == "real"


def test_the_splits_together_are_the_dataset_in_its_order():
    (whole,) = load(Noisy()).parts("all")
    assert whole.fetch(torch.arange(40))["index"].tolist() == list(range(40))
    assert len(load({"train": Noisy(), "test": Noisy()}).parts("all")) == 3


@pytest.mark.parametrize("source", [Noisy(), loader()], ids=["Dataset", "DataLoader"])
def test_datasets_and_loaders_are_not_streamed_from_the_disk(source: Any):
    with pytest.raises(InputError, match="data.stream is 'on', but a (Noisy|DataLoader) reads its rows by itself"):
        load(source, stream="on")


def test_items_may_be_dicts_with_conditions():
    batch = next(training(Named()).epoch(0))
    torch.testing.assert_close(batch["context"]["dose"].float(), batch["x"][:, 0] / 40)


@pytest.mark.parametrize(
    "source", [Noisy, lambda: loader(shuffle=True), lambda: loader(generator=torch.Generator(), shuffle=True)]
)
def test_epochs_repeat_with_their_random_rows_and_resume_in_the_middle(source):
    torch.manual_seed(0)
    whole = visits(training(source()), 2)
    torch.manual_seed(1)
    assert same(visits(training(source()), 2), whole)
    assert same(visits(training(source()), 2, start=2), whole[2:])
    assert not same(visits(training(source()), 3), whole)


def test_the_loop_and_the_dataset_do_not_disturb_each_other():
    batches = training(loader(shuffle=True))
    quiet = visits(batches, 1)
    state = torch.get_rng_state()
    disturbed = []
    for batch in batches.epoch(1):
        disturbed.append(batch["x"])
        torch.rand(3)
    assert same(disturbed, quiet)
    torch.set_rng_state(state)
    visits(batches, 1)
    assert torch.equal(state, torch.get_rng_state())


def test_a_loader_keeps_its_own_batches_and_ranks_share_them():
    batches = training(loader(shuffle=True))
    assert isinstance(batches, LoaderBatches)
    assert len(batches) == 5
    whole = visits(batches, 1)
    shares = [visits(batches, 1, rank=rank, world=2) for rank in range(2)]
    assert same([torch.cat(pair) for pair in zip(*shares, strict=True)], whole)
    with pytest.raises(InputError, match="cannot be shared evenly by 3"):
        visits(batches, world=3)


def test_a_loader_is_the_training_split_and_the_others_are_said_to_be_empty():
    data = load(loader())
    assert [len(split) for split in data.splits.values()] == [40, 0, 0]
    assert any("valid split is empty" in note for note in data.notes)


def test_loaders_may_be_given_for_each_split():
    data = load({"train": loader(shuffle=True), "valid": loader(), "test": Noisy(6)})
    assert [len(split) for split in data.splits.values()] == [40, 40, 6]
    valid = to_batches(data.valid, batch_size=3, training=False)
    assert same(visits(valid, 0), visits(valid, 5))
    assert len(sample_rows(data.valid, 4)["x"]) == 4


def test_channels_first_is_pointed_out():
    class Photos(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return torch.zeros(3, 8, 8)

    data = load(Photos())
    assert not data.is_image
    assert any("channels first" in note for note in data.notes)
