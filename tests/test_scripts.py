"""The scripts of benchmarks/ and examples/ import names that exist: nothing else here runs them."""

import ast
import importlib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "examples").rglob("*.py")])


def imported(script: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each ``from module import name``."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def defined(file: Path) -> set[str]:
    """Names that a file defines or imports at its top."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def is_there(module: str, name: str, folders: list[Path]) -> bool:
    files = [folder / f"{module}.py" for folder in folders if (folder / f"{module}.py").is_file()]
    if files:
        return name in defined(files[0])
    found = importlib.import_module(module)
    return hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_every_imported_name_exists(script):
    # a script that is named like one of the tests' helpers puts their folder first
    folders = [folder for folder in (ROOT / "tests" / "support", script.parent) if folder / script.name != script]
    folders += [script.parent]
    missing = [
        f"{module}.{name}"
        for module, name in imported(script)
        if module.split(".")[0] == "xmcgan" or any((folder / f"{module}.py").is_file() for folder in folders)
        if not is_there(module, name, folders)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("sample_grid.py", ["grid.png", "--model", "missing"], "there is no folder missing"),
        ("fine_tune/before_and_after.py", ["missing", "after.png"], "there is no folder missing"),
        ("fine_tune/before_and_after.py", [], "usage: "),
        ("fine_tune/draw_owls.py", ["."], "train is there already; name another folder"),
    ],
)
def test_an_example_says_what_is_wrong(script, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    assert [path.name for path in tmp_path.rglob("*")] == ["train"]
