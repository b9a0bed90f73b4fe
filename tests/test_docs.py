import re
import shlex
from pathlib import Path

import pytest

from amortized.cli import main
from amortized.cli.commands import app
from amortized.cli.words import split_dotted
from amortized.recipes import SHORT, make_recipe, named

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("guide", "evaluation", "pages"))]
BLOCK = re.compile(r"^```(\w+) ?([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path, language, mark=""):
    """The blocks of a language with that mark, each with empty lines before it, so that errors name the document's own line."""
    text = path.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match[1] == language and match[2] == mark:
            yield "\n" * text[: match.start(3)].count("\n") + match[3]


def commands(path):
    """The words, after the program's name, of each command shown: after a `$` in a console block, or indented."""
    shown = [line[2:] for block in blocks(path, "console") for line in block.splitlines() if line.startswith("$ ")]
    shown += re.findall(r"^ {4}(amortized .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    for line in shown:
        words = shlex.split(line, comments=True)
        if "amortized" in words:
            yield words[words.index("amortized") + 1 :]


def refusals():
    for path in DOCUMENTS:
        for block in blocks(path, "console", "refused"):
            yield from re.findall(r"^\$ amortized (.*)\n(.*)$", block, re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_of_a_document_runs_as_it_stands(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMORTIZED_DATA", raising=False)
    found = list(blocks(path, "python"))
    namespace = {"__name__": "document"}
    for block in found:
        exec(compile(block, path.name, "exec"), namespace)
    assert found


@pytest.mark.parametrize("words", [words for path in DOCUMENTS for words in commands(path)], ids=" ".join)
def test_a_command_shown_has_only_options_that_exist(words):
    plain, options = split_dotted(words)
    command, bound, _ = app.parse_args(plain, exit_on_error=False, print_error=False)
    assert command.__name__ == words[0]
    given = {name: value for name, value in bound.arguments.items() if name in SHORT and value is not None}
    recipe = bound.arguments.get("recipe") or "vae"
    if words[0] == "fit":
        make_recipe([named(recipe)], given | options)
    else:
        assert not options


@pytest.mark.parametrize(("words", "answer"), list(refusals()))
def test_what_is_shown_as_refused_is_refused_in_those_words(words, answer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(words)) == 2
    assert capsys.readouterr().err.strip().startswith(answer.removesuffix("..."))


def test_every_document_shows_commands_and_the_guide_shows_refusals():
    assert all(list(commands(path)) for path in DOCUMENTS)
    assert list(refusals())
