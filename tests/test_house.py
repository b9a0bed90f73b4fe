import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import amortized

SOURCE = Path(__file__).parents[1] / "src" / "amortized"
ANYONE = {"errors", "files", "seeds", "speed", "kept", "nesting", "showing"}
CORE = {"terms", "conditional", "divergences", "processes"} | ANYONE
PARTS = {"priors", "posteriors", "likelihoods"}
WORK = {"training", "evaluation", "tasks"}
RECIPES = CORE | PARTS | WORK | {"distributions", "networks", "models", "objectives", "data", "recipes"}
HEAVY = tuple("lightning_fabric pydantic sklearn pandas pyarrow PIL matplotlib cyclopts rich yaml scipy zuko".split())
HEAVY += ("jinja2", "fastapi", "uvicorn", "onnx", "onnxruntime", "onnxscript")

# What each room may know of the others, besides itself.
MAY_KNOW: dict[str, set[str]] = {
    **dict.fromkeys(CORE, CORE),
    "distributions": CORE,
    "networks": CORE,
    **dict.fromkeys(PARTS, CORE | {"distributions", "networks"}),
    "models": CORE | PARTS | {"distributions", "networks"},
    "objectives": CORE,
    "data": ANYONE,
    **dict.fromkeys(WORK, CORE | {"distributions", "models", "objectives"}),
    "recipes": RECIPES,
}
OUTER = {
    "folder",
    "fitted",
    "fitting",
    "loading",
    "reading",
    "runs",
    "studies",
    "sweeping",
    "watching",
    "cli",
    "report",
    "explore",
    "export",
    "__init__",
    "__main__",
}  # these may know all
PROTOCOL_ONLY = WORK  # of the models these know the protocol, and no model
TORCH_ONLY = (CORE - {"showing"}) | PARTS | {"distributions", "networks", "models", "objectives"}  # rich prints what is shown
FILES = sorted(SOURCE.rglob("*.py"))


def room(path):
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path):
    """The absolute names of all that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            assert node.module is not None
            whole = node.module == "amortized"  # `from amortized import tasks` imports a room
            yield from (f"amortized.{alias.name}" for alias in node.names) if whole else (node.module,)


def own_imports(path):
    return [name.split(".")[1:] for name in imports(path) if name.split(".")[0] == "amortized"]


def modules():
    return [
        "amortized",
        *(info.name for info in pkgutil.walk_packages([str(SOURCE)], "amortized.") if "__main__" not in info.name),
    ]


def identity(path):
    return str(path.relative_to(SOURCE))


def test_every_room_has_its_rule():
    assert {room(path) for path in FILES} <= set(MAY_KNOW) | OUTER


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in MAY_KNOW], ids=identity)
def test_a_room_knows_only_the_rooms_it_may(path):
    known = MAY_KNOW[room(path)] | {room(path)}
    unknown = [".".join(name) for name in own_imports(path) if name and name[0] not in known]
    assert not unknown


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in PROTOCOL_ONLY], ids=identity)
def test_training_evaluation_and_tasks_know_models_by_their_protocol(path):
    assert not [name for name in own_imports(path) if name[0] == "models" and name[1:2] != ["model"]]


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in TORCH_ONLY], ids=identity)
def test_the_mathematics_needs_nothing_but_torch_and_zuko(path):
    foreign = {name.split(".")[0] for name in imports(path)} - {"amortized", "torch", "zuko"} - set(sys.stdlib_module_names)
    assert not foreign


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_a_file_is_one_idea(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("name", modules())
def test_what_a_module_exports_exists_and_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    exported = getattr(module, "__all__", ())
    assert len(set(exported)) == len(exported)
    for entry in exported:
        value = getattr(module, entry)
        if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), entry


def test_the_public_face_imports_what_it_promises_when_asked():
    for entry in amortized.__all__:
        assert getattr(amortized, entry) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = amortized.fitt  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_the_package_brings_nothing_heavy():
    program = (
        "import sys, torch; before = set(sys.modules); import amortized;"
        f"print([name for name in {HEAVY!r} if name in set(sys.modules) - before])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_command_line_answers_before_torch_is_there():
    program = "import sys, amortized.cli; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
