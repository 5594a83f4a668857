"""The rules of the house that no single room can keep: floors, forbidden constructs, dependencies, versions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from importlinter.cli import lint_imports

import semiseg

SOURCE = Path(__file__).resolve().parents[1] / "src" / "semiseg"
MODULES = sorted(SOURCE.rglob("*.py"))
# Where the name of a distribution differs from the name one imports.
IMPORTED_AS = {"pillow": "PIL", "pyyaml": "yaml"}

PICKLERS = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
# What torch.load(weights_only=True) raises, to be caught by name.
PICKLE_ERROR = "pickle.UnpicklingError"
CODE_FROM_TEXT = {"builtins.compile", "builtins.eval", "builtins.exec", "compile", "eval", "exec"}
SHELLS = {"os.popen", "os.system", "subprocess.getoutput", "subprocess.getstatusoutput"}
UNSAFE_YAML = {"yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"}
IMPORTERS = {"__import__", "importlib.__import__", "importlib.import_module"}

# The published system reads torch's own files: tensors that we hand over, not what anyone hands to us.
ALLOWED = {"models/published.py": {"calls torch.save"}}


def offences(source: str) -> list[str]:
    """List what a module does that no module here may do: unpickle, evaluate text, start a shell, load unsafe YAML."""
    tree = ast.parse(source)
    names, tables = _imported_names(tree), _closed_tables(tree)
    found = [f"imports {name}" for name in names.values() if name.split(".")[0] in PICKLERS and name != PICKLE_ERROR]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            faults = _faults_of_call(node, _dotted(node.func, names), tables)
            found += [f"line {node.lineno}: {fault}" for fault in faults]
    return found


def _imported_names(tree: ast.AST) -> dict[str, str]:
    """Map each imported name to what it stands for: `from torch import load as get` gives `{"get": "torch.load"}`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full dotted name of an expression like `torch.load`, or an empty string for any other one."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def _closed_tables(tree: ast.Module) -> set[str]:
    """Return the names of the module's dictionaries of constants alone, like `HOMES = {"train": "semiseg.api"}`."""
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name) and all(isinstance(value, ast.Constant) for value in node.value.values)
    }


def _faults_of_call(call: ast.Call, name: str, tables: set[str]) -> Iterator[str]:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in CODE_FROM_TEXT | SHELLS | UNSAFE_YAML or name == "torch.save":
        yield f"calls {name}"
    if name == "torch.load" and not _is_true(keywords.get("weights_only")):
        yield "calls torch.load without weights_only=True"
    if name in {"yaml.load", "yaml.load_all"} and not _names_safe_loader(keywords.get("Loader")):
        yield f"calls {name} without a SafeLoader"
    if name in IMPORTERS and not (call.args and _is_written_here(call.args[0], tables)):
        yield f"calls {name} with a name that is not written in the source"
    for flag in ("shell", "allow_pickle"):
        if flag in keywords and not _is_false(keywords[flag]):
            yield f"passes {flag}"


def _is_written_here(node: ast.expr, tables: set[str]) -> bool:
    """Whether a name to import is a constant or is looked up in a closed table of the same module."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Name) and node.value.id in tables
    return isinstance(node, ast.Constant)


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _names_safe_loader(node: ast.expr | None) -> bool:
    return node is not None and ast.unparse(node).endswith("SafeLoader")


def _project() -> dict[str, Any]:
    return tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]


def _distribution(requirement: str) -> str:
    """Return the normalised name in a requirement: `pydantic[email]>=2.10` gives `pydantic`."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_rooms_import_only_from_lower_floors_and_never_in_circles(capsys: pytest.CaptureFixture[str]) -> None:
    code = lint_imports(config_filename=str(SOURCE.parents[1] / "pyproject.toml"), no_cache=True, no_logo=True)
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_module_does_what_is_forbidden(module: Path) -> None:
    found = {fault.partition(": ")[2] for fault in offences(module.read_text(encoding="utf-8"))}
    assert found - ALLOWED.get(module.relative_to(SOURCE).as_posix(), set()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import UnpicklingError, load",
        "from dill import loads",
        "def f():\n    import marshal",
        "eval('1')",
        "import builtins\nbuiltins.exec('1')",
        "from os import system\nsystem('ls')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.run('ls', shell=flag)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.FullLoader)",
        "from yaml import unsafe_load as load\nload(text)",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "from torch import save\nsave({}, path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import importlib\nimportlib.import_module(name)",
        "from importlib import import_module\nimport_module(name)",
        "from importlib import import_module\nimport_module(config['method'])",
        "from importlib import import_module\nHOMES = {'a': name}\nimport_module(HOMES['a'])",
    ],
)
def test_the_guard_sees_a_forbidden_construct(source: str) -> None:
    assert offences(source)


@pytest.mark.parametrize(
    "source",
    [
        "from pickle import UnpicklingError",
        "import re\nre.compile('x')",
        "import torch\ntorch.compile(model)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import yaml\nyaml.safe_load(text)",
        "import yaml\nyaml.load(text, Loader=StrictSafeLoader)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import subprocess\nsubprocess.run(['ls'])",
        "from importlib import import_module\nHOMES = {'a': 'semiseg.api'}\nimport_module(HOMES[name])",
        "model.eval()",
    ],
)
def test_the_guard_lets_its_harmless_twin_pass(source: str) -> None:
    assert offences(source) == []


def test_every_library_that_is_imported_is_a_declared_dependency() -> None:
    project = _project()
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    distributions = {_distribution(line) for line in project["dependencies"] + extras}
    allowed = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in distributions} | {"semiseg"}
    imported = {
        name.partition(".")[0]
        for module in MODULES
        for name in _imported_names(ast.parse(module.read_text(encoding="utf-8"))).values()
    }
    assert imported - set(sys.stdlib_module_names) - allowed == set()


def test_the_lock_is_plain_pins_and_covers_every_dependency() -> None:
    lines = (SOURCE.parents[1] / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []
    project = _project()
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    wanted = {_distribution(line) for line in project["dependencies"] + extras}
    assert wanted - {_distribution(line) for line in pins} == set()


def test_the_version_is_the_same_everywhere() -> None:
    version = _project()["version"]
    assert semiseg.__version__ == version
    assert f"## [{version}]" in (SOURCE.parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
