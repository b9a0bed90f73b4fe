import json
import math
from pathlib import Path

import pytest

from amortized import InputError
from amortized.folder import Folder
from amortized.recipes import Condition, Recipe, Spec, make_recipe


def test_the_description_of_a_model_comes_back_as_it_was(tmp_path: Path):
    recipe = make_recipe([{"model": {"prior": "gaussian", "likelihood": {"kind": "gaussian", "scale": 0.5}}}])
    spec = Spec((3,), False, "real", None, 2.0, ("a", "b", "c"), {"site": Condition(2, ("Oslo", "Rome"))}, ("no", "yes"))
    folder = Folder(tmp_path)
    folder.write_model_description(recipe, spec)
    read, read_spec = folder.read_model_description()
    assert (read.model, read.data, read_spec) == (recipe.model, recipe.data, spec)


def test_the_recipe_and_the_history_come_back_bit_by_bit(tmp_path: Path):
    folder = Folder(tmp_path)
    recipe = make_recipe([], {"lr": 1 / 3, "training.patience": 4, "data.context": "[label]", "precision": 64})
    folder.write_recipe(recipe)
    assert folder.read_recipe() == recipe
    history = [{"step": 1, "lr": 1 / 3, "bound": -math.pi * 1e17}, {"step": 2, "lr": 5e-324, "bound": -math.inf}]
    assert folder.read_history() == []
    folder.write_history(history)
    assert folder.read_history() == history


def test_metrics_of_another_split_stay(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.write_metrics({"test": {"elbo_nats": 1.0}})
    folder.write_metrics({"valid": {"elbo_nats": 2.0}})
    assert folder.read_metrics() == {"test": {"elbo_nats": 1.0}, "valid": {"elbo_nats": 2.0}}


def test_going_on_is_added_to_the_record_of_the_beginning(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.write_environment(device="cpu")
    first = json.loads(folder.environment.read_text())
    for device in ("cuda:0", "cpu"):
        folder.write_environment(device=device)
    record = json.loads(folder.environment.read_text())
    assert [each["device"] for each in record.pop("resumed")] == ["cuda:0", "cpu"]
    assert record == first


def test_a_folder_in_use_is_refused_and_left_as_it_is(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty; give another --out"):
        Folder(tmp_path).create()
    Folder(tmp_path).write_recipe(Recipe())
    with pytest.raises(InputError, match="already holds a run; give another --out, or go on with --resume"):
        Folder(tmp_path).create()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_below_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Not a directory; give an --out that you may write to"):
        Folder(tmp_path / "file" / "run").create()


def test_temporary_files_of_a_killed_write_are_swept_and_nothing_else(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.create()
    mine, theirs = tmp_path / ".gitignore", folder.checkpoint.parent / f".{folder.checkpoint.name}.x7_k2"
    mine.write_text("*")
    theirs.write_text("half")
    folder.sweep()
    assert mine.exists()
    assert not theirs.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 99, "version": "9.0"}', "written by amortized 9.0; .* upgrade amortized"),
        ("{", "cannot be read as JSON"),
        ("[]", "holds a list"),
        ('{"format": 1}', "is damaged"),
        ('{"format": 1, "model": {"prior": {"kind": "vmap"}}, "data": {}, "spec": {}}', "is damaged"),
        ('{"format": 1, "model": null, "data": {}, "spec": {"event_shape": "x"}}', "is damaged"),
        ('{"format": "1"}', "is damaged"),
    ],
)
def test_a_damaged_or_newer_description_is_one_sentence(text: str, message: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        Folder(tmp_path).read_model_description()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff", b"step,lr\n1,"])
def test_a_folder_without_a_description_is_no_run(content: bytes | None, tmp_path: Path):
    with pytest.raises(InputError, match="there is no run folder"):
        Folder(tmp_path / "nowhere").check()
    with pytest.raises(InputError, match="no config.json"):
        Folder(tmp_path).check()
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(InputError, match="restore it"):
            Folder(tmp_path).read_model_description()


def test_json_is_written_in_full(tmp_path: Path):
    Folder(tmp_path).write_environment(seed=3, data="digits")
    record = json.loads((tmp_path / "environment.json").read_text())
    assert {"amortized", "python", "torch", "platform", "threads", "started", "seed", "data"} <= record.keys()
