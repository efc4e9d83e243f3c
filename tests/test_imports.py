"""Who may import whom: packages of lower levels only, by the table in pyproject.toml, and within a package."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import xmcgan

PACKAGE = Path(xmcgan.__file__).parent
ROOT = Path(__file__).parents[1]
LEVELS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["xmcgan"]["import-levels"]
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules}
FILES = sorted(PACKAGE.rglob("*.py"))


def top_level(path: Path) -> str:
    """The module or package right below xmcgan that a file belongs to; "" for xmcgan/__init__.py itself."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and top-level module of every import from xmcgan, wherever it stands in a file of that package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*parents, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names] if source == "xmcgan" else [source]
        else:
            continue
        for name in names:
            parts = name.split(".")
            # xmcgan/__init__.py holds public names; of those the modules themselves need the version alone.
            if parts[0] == "xmcgan" and parts[1:] != ["__version__"]:
                yield node.lineno, parts[1] if len(parts) > 1 else ""


def wrong_imports(path: Path, source: str) -> list[str]:
    importer = top_level(path)
    if not importer:
        return []  # the public names: it may import from anywhere, and no module may import it
    package = ("xmcgan", *path.relative_to(PACKAGE).parts[:-1])
    wrong = []
    for line, target in imported(ast.parse(source), package):
        where = f"{path.relative_to(PACKAGE.parent)}:{line}"
        if target == importer:
            continue
        if target not in LEVEL:
            wrong.append(
                f"{where} imports xmcgan.{target}, which has no level: place it in import-levels of pyproject.toml"
            )
        elif LEVEL[target] >= LEVEL[importer]:
            wrong.append(
                f"{where}: {importer} (level {LEVEL[importer]}) imports {target} (level {LEVEL[target]}); "
                "imports go downward only"
            )
    return wrong


def test_every_module_has_a_level():
    unplaced = {top_level(path) for path in FILES} - {""} - LEVEL.keys()
    assert not unplaced, f"place {sorted(unplaced)} in import-levels of pyproject.toml"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward_only(path):
    if top_level(path) not in {*LEVEL, ""}:
        pytest.fail(f"{path} has no level: place it in import-levels of pyproject.toml")
    assert not wrong_imports(path, path.read_text())


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("losses/objective.py", "from xmcgan.model.attention import word_context"),
        ("types.py", "import xmcgan.losses"),
        ("evaluation/evaluate.py", "from xmcgan import training"),
        ("inference/sample.py", "def late():\n    from xmcgan.training.checkpoint import load_checkpoint"),
        ("model/blocks.py", "from ..losses import nt_xent"),
        ("model/blocks.py", "from .. import encoders"),
        ("losses/objective.py", "import xmcgan"),
        ("losses/objective.py", "from xmcgan.helpers import x"),
    ],
)
def test_a_wrong_import_is_found(importer, source):
    assert len(wrong_imports(PACKAGE / importer, source)) == 1


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("losses/objective.py", "from xmcgan.types import Batch"),
        ("model/generator.py", "from .blocks import UpBlock\nfrom xmcgan.model import attention"),
        ("training/checkpoint.py", "from xmcgan import __version__\nfrom xmcgan.inference.sample import sample"),
        ("cli/main.py", "import torch\nfrom xmcgan import training, config"),
        ("__init__.py", "from xmcgan.inference.pipeline import Pipeline"),
    ],
)
def test_a_right_import_is_let_through(importer, source):
    assert not wrong_imports(PACKAGE / importer, source)


def test_files_functions_and_the_top_stay_small():
    """At most 400 lines a file (but for the drawings of Scenes), 60 a function, 22 entries at the top."""
    long = []
    for path in FILES:
        source = path.read_text()
        if path.relative_to(PACKAGE).as_posix() != "scenes/draw.py" and source.count("\n") > 400:
            long.append(f"{path} has {source.count(chr(10))} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 60:
                long.append(f"{path}:{node.lineno}: {node.name} is longer than 60 lines")
    assert not long
    entries = {path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed")}
    assert len(entries) <= 22, sorted(entries)
