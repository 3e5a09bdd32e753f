"""The shape of the code base: who may import whom, what may not be called, what must be written down."""

import ast
import collections
import doctest
import graphlib
import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys

import bank
import learners
import pytest

import nlhf.algorithms
from nlhf import ALGORITHMS, LEARNERS, METHODS

ROOT = pathlib.Path(__file__).parents[1]
LAYERS = ("nlhf", "tabular", "proofs_checks", "experiments")
SOURCES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
FIGURES = sorted((ROOT / "experiments" / "figures").rglob("*.py"))
HEAVY = ("flax", "orbax", "tensorflow", "tensorflow_datasets", "matplotlib", "tyro", "tqdm", "tokenizers")


FORBIDDEN_MODULES = ("pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib")
FORBIDDEN_CALLS = (
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "yaml.load", "yaml.unsafe_load"),
)


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def imported(tree):
    """Absolute modules that a file imports, wherever the statement stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module


EACH_SOURCE = pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))


@EACH_SOURCE
def test_imports_point_down_the_layers(path):
    if path == ROOT / "nlhf/__main__.py":  # the command, which lies here to find the other packages beside it
        return
    layer = path.relative_to(ROOT).parts[0]
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {name.split(".")[0] for name in imported(tree)} & {*LAYERS, "tests"}
    assert ours <= set(allowed)


def test_no_module_imports_itself_in_a_circle():
    # wherever the import stands: one inside of a function only hides the circle
    modules = {module_name(path): path for path in SOURCES}
    graph = {}
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        members = [
            (node.module, f"{node.module}.{alias.name}")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        named = [
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        ]
        named += [member if member in modules else package for package, member in members]
        graph[module] = {*named} & {*modules} - {module}
    graphlib.TopologicalSorter(graph).prepare()  # names the modules of a circle


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_folders_stay_small():
    counts = collections.Counter(path.parent for path in ROOT.rglob("*.py") if path.parts[-2][0] != ".")
    ours = {path.parent for path in [*SOURCES, *(ROOT / "tests").rglob("*.py")]}
    assert {str(folder): counts[folder] for folder in ours if counts[folder] > 30} == {}


@EACH_SOURCE
def test_no_name_hides_a_module_of_python(path):
    assert not {*path.relative_to(ROOT).with_suffix("").parts} & {*sys.stdlib_module_names} - {"__main__"}


@EACH_SOURCE
def test_every_example_ends_with_what_it_shows(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            examples = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
            assert not examples or examples[-1].want


@pytest.mark.parametrize("package", ["nlhf", "tabular"])
def test_importing_everything_light_imports_nothing_heavy(package):
    module = importlib.import_module(package)
    light = [
        found.name
        for found in pkgutil.walk_packages(module.__path__, package + ".")
        if not found.name.startswith("nlhf.transformer")
    ]
    code = f"import sys, importlib\nfor name in {[package, *light]!r}: importlib.import_module(name)\n"
    code += f"print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def called(node):
    """Dotted name of what is called; the result of another expression stands as a question mark."""
    parts, target = [], node.func
    while isinstance(target, ast.Attribute):
        parts.append(target.attr)
        target = target.value
    parts.append(target.id if isinstance(target, ast.Name) else "?")
    return ".".join(reversed(parts))


def dangers(tree):
    for name in imported(tree):
        if name.split(".")[0] in FORBIDDEN_MODULES:
            yield f"import {name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        if name in FORBIDDEN_CALLS:
            yield name
        for keyword in node.keywords:
            refused = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in ("shell", "allow_pickle") and not refused:
                yield f"{name}({keyword.arg}=...)"


@EACH_SOURCE
def test_nothing_dangerous_is_called(path):
    assert list(dangers(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec('1')",
        "yaml.load(stream)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
    ],
)
def test_the_check_for_dangerous_calls_finds_them(code):
    assert list(dangers(ast.parse(code)))


def test_the_check_for_dangerous_calls_lets_the_others_pass():
    code = "np.load(p, allow_pickle=False)\njax.jit(f).lower(x).compile()\nre.compile('a')\nmodel.eval()"
    assert not list(dangers(ast.parse(code)))


@EACH_SOURCE
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@EACH_SOURCE
def test_modules_and_public_functions_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_every_algorithm_file_is_listed_and_banked():
    files = {found.name for found in pkgutil.iter_modules(nlhf.algorithms.__path__)}
    assert set(ALGORITHMS) == set(bank.ROWS)
    assert set(LEARNERS) == set(learners.ROWS)
    assert files == set(ALGORITHMS) | set(LEARNERS)
    for name, factory in {**ALGORITHMS, **LEARNERS}.items():
        assert inspect.getmodule(factory).__name__ == f"nlhf.algorithms.{name}"
        assert (ROOT / "tests/nlhf/algorithms" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_file_reads_like_the_others(name):
    module = importlib.import_module(f"nlhf.algorithms.{name}")
    assert callable(module.step)
    for heading in ("Args:", "Returns:", "Raises:", "Claims:", "Reference:"):
        assert heading in inspect.getdoc(ALGORITHMS[name])
    states = [value for key, value in vars(module).items() if key.endswith("State")]
    assert len(states) == 1
    assert states[0]._fields[0] == "policy"


def test_every_source_file_of_the_core_has_a_test_file_of_its_name():
    missing = []
    for layer in ("nlhf", "tabular"):
        for path in (ROOT / layer).rglob("*.py"):
            relative = path.relative_to(ROOT)
            elsewhere = {"readers"} & set(relative.parts)
            test = ROOT / "tests" / relative.parent / f"test_{path.name}"
            if path.name != "__init__.py" and not elsewhere and not test.is_file():
                missing.append(str(relative))
    assert missing == []


def colours_written(tree):
    """Methods for which a dictionary writes a colour."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Dict)):
        for key, value in zip(node.keys, node.values, strict=True):
            texts = [str(each.value) for each in ast.walk(value) if isinstance(each, ast.Constant)]
            if isinstance(key, ast.Constant) and key.value in METHODS:
                yield from (f"{key.value}: {text}" for text in texts if re.fullmatch("#[0-9A-Fa-f]{6}", text))


@pytest.mark.parametrize("path", FIGURES, ids=names(FIGURES))
def test_no_figure_chooses_the_colour_of_a_method(path):
    assert list(colours_written(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_the_check_for_colours_finds_them():
    assert list(colours_written(ast.parse("{'egpo': ('EGPO', '#D55E00'), 'bad': '#D55E00'}"))) == [
        "egpo: #D55E00"
    ]
