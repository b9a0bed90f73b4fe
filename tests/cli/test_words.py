from collections.abc import Sequence

import pytest

from amortized import fitting
from amortized.cli import main
from amortized.cli.words import condition, split_dotted
from amortized.errors import InputError
from amortized.recipes import SHORT, options


@pytest.mark.parametrize(
    ("words", "rest", "taken"),
    [
        (["fit", "digits"], ["fit", "digits"], {}),
        (["--model.prior", "vamp", "--model.prior.components", "9"], [], {"model.prior": "vamp", "model.prior.components": "9"}),
        (["fit", "--training.batch-size=256", "digits"], ["fit", "digits"], {"training.batch_size": "256"}),
        (["--data.splits", "[0.8, 0.1, 0.1]"], [], {"data.splits": "[0.8, 0.1, 0.1]"}),
        (["--a.b", "-1e-3", "--a.c", "-.5"], [], {"a.b": "-1e-3", "a.c": "-.5"}),
        (["--a.b", "--epochs", "3"], ["--epochs", "3"], {"a.b": "true"}),
        (["--a.b", "-n", "3"], ["-n", "3"], {"a.b": "true"}),
        (["--a.b"], [], {"a.b": "true"}),
        (["--no-a.b", "digits"], ["digits"], {"a.b": "false"}),
        (["--a.b", "1", "--a.b", "2"], [], {"a.b": "2"}),
        (["--a.b="], [], {"a.b": ""}),
        (["--out=runs/a.b", "--out", "a.b", "my.npz"], ["--out=runs/a.b", "--out", "a.b", "my.npz"], {}),
    ],
)
def test_dotted_options_are_taken_out_with_their_values(words, rest, taken):
    assert split_dotted(words) == (rest, taken)


@pytest.mark.parametrize(
    ("text", "name", "value"), [("label=3", "label", "3"), ("dose=-0.5", "dose", "-0.5"), ("path=a=b", "path", "a=b")]
)
def test_a_condition_keeps_its_value_as_it_was_written(text, name, value):
    assert condition(text) == (name, value)


@pytest.mark.parametrize("text", ["label", "=3", "label="])
def test_a_condition_without_name_or_value_is_refused(text):
    with pytest.raises(InputError, match="name=value"):
        condition(text)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("fti digits", 'unknown command "fti". Did you mean "fit"?'),
        ("nonsense", "Available commands: fit, evaluate, compare, "),
        ("fit --epohcs 3 digits", "unknown option: --epohcs. Did you mean --epochs?"),
        ("sample r --zzzz", "unknown option: --zzzz. See 'amortized sample --help'."),
        ("fit digits more", "unexpected 'more'. See 'amortized fit --help'."),
        ("fit", "fit needs data"),
        ("sample", "parameter RUN requires an argument"),
        ("sample r -n", "-n requires an argument"),
        ("sample r -n 0", 'invalid value "0" for -n'),
        ("sample r -n many", "it is 'many'; give an integer"),
        ("sample r -n 2.9", "it is '2.9'; give an integer"),
        ("fit digits --objective [", "objective is '[', which cannot be read"),
        ("interpolate r --path sperical", 'did you mean "spherical"?'),
        ("evaluate r --split tset", 'did you mean "test"?'),
        ("sample r --training.lr 1", "'--training.lr' is an option of fit; 'sample' takes none such"),
        ("sample no/such/run", "there is no run folder 'no/such/run'"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_way_out_and_status_2(capsys, command, sentence):
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("amortized: ")
    assert err.count("\n") == 1
    assert sentence.lower() in err.lower()


@pytest.mark.parametrize("command", ["fit", "evaluate", "sample", "reconstruct", "encode", "interpolate"])
def test_every_command_has_help_with_an_example(capsys, command):
    assert main([command, "--help"]) == 0
    assert f"Example: amortized {command} " in capsys.readouterr().out


def test_the_help_of_fit_lists_every_dotted_option(capsys):
    main(["fit", "--help"])
    text = capsys.readouterr().out
    for name in options():
        assert f"--{name.replace('_', '-')}" in text


def test_the_help_of_fit_lists_all_kinds_of_data(capsys):
    main(["fit", "--help"])
    text = capsys.readouterr().out
    for kind in (".npz", ".npy", ".csv", ".parquet", ".tar", "images", "shards"):
        assert kind in text.split("--prior")[0]


class Called(Exception):
    pass


def called_with(monkeypatch, words: Sequence[str]) -> tuple[tuple, dict]:
    def fit(*arguments, **options):
        raise Called(arguments, options)

    monkeypatch.setattr(fitting, "fit", fit)
    with pytest.raises(Called) as caught:
        main(words)
    return caught.value.args[0], caught.value.args[1]


@pytest.mark.parametrize("name", sorted(SHORT))
def test_every_short_option_of_a_recipe_is_a_flag_of_fit(monkeypatch, name):
    (data,), given = called_with(monkeypatch, ["fit", "digits", f"--{name.replace('_', '-')}", "7"])
    assert data == "digits"
    assert given[name] == "7"


def test_short_and_dotted_options_reach_fit_together(monkeypatch):
    words = "fit --model.prior vamp --epochs 3 --model.prior.components 9 --recipe linear --out here digits --quiet"
    (data,), given = called_with(monkeypatch, words.split())
    expected = {"model.prior": "vamp", "model.prior.components": "9", "epochs": "3", "recipe": "linear", "quiet": True}
    assert data == "digits"
    assert {name: given[name] for name in expected} == expected
    assert str(given["out"]) == "here"


def test_a_run_without_out_gets_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for taken, expected in ((None, "runs/digits"), ("runs/digits", "runs/digits-2"), ("runs/digits-2", "runs/digits-3")):
        if taken is not None:
            (tmp_path / taken).mkdir(parents=True)
        assert called_with(monkeypatch, ["fit", "digits"])[1]["out"].as_posix() == expected
    assert called_with(monkeypatch, ["fit", "--config", "runs/mine/config.yaml"])[1]["out"].as_posix() == "runs/mine"
    assert called_with(monkeypatch, ["fit", "--resume", "runs/digits"])[1]["out"] is None


def test_an_interruption_outside_training_ends_as_a_shell_expects(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit", interrupted)
    assert main(["fit", "digits"]) == 130
    assert capsys.readouterr().err == "amortized: interrupted.\n"


def test_a_defect_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(fitting, "fit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["fit", "digits"])
