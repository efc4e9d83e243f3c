"""Who may import whom: downward only (docs/design.md). Siblings do not import each other; a package may, within."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import xmcgan

PACKAGE = Path(xmcgan.__file__).parent
LEVELS = (
    {"types", "config", "precision", "device", "distributed", "results", "published", "tables"},
    {"model", "losses", "text", "image_encoder", "data", "ema", "metrics"},
    {"checkpoint", "sample", "compat", "evaluators", "image_set"},
    {"train", "pipeline", "evaluate", "compare", "train_evaluators"},
    {"report", "export", "bench", "projection", "monitor"},
    {"demo", "cli_data", "cli_evaluate", "cli_compare", "cli_train_evaluators", "cli_bench"},
    {"cli"},
    {"__main__"},
)
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
            wrong.append(f"{where} imports xmcgan.{target}, which has no level: place it in LEVELS of this test")
        elif LEVEL[target] >= LEVEL[importer]:
            wrong.append(
                f"{where}: {importer} (level {LEVEL[importer]}) imports {target} (level {LEVEL[target]}); "
                "imports go downward only"
            )
    return wrong


def test_every_module_has_a_level():
    unplaced = {top_level(path) for path in FILES} - {""} - LEVEL.keys()
    assert not unplaced, f"place {sorted(unplaced)} in LEVELS of this test, and in docs/design.md"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward_only(path):
    if top_level(path) not in {*LEVEL, ""}:
        pytest.fail(f"{path} has no level: place it in LEVELS of this test")
    assert not wrong_imports(path, path.read_text())


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("losses.py", "from xmcgan.model.attention import word_context"),
        ("types.py", "import xmcgan.losses"),
        ("train.py", "from xmcgan import evaluate"),
        ("sample.py", "def late():\n    from xmcgan.checkpoint import load_checkpoint"),
        ("model/layers.py", "from ..losses import nt_xent"),
        ("model/layers.py", "from .. import text"),
        ("losses.py", "import xmcgan"),
        ("losses.py", "from xmcgan.helpers import x"),
    ],
)
def test_a_wrong_import_is_found(importer, source):
    assert len(wrong_imports(PACKAGE / importer, source)) == 1


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("losses.py", "from xmcgan.types import Batch"),
        ("model/generator.py", "from .layers import UpBlock\nfrom xmcgan.model import attention"),
        ("checkpoint.py", "from xmcgan import __version__\nfrom xmcgan.ema import EMA"),
        ("cli.py", "import torch\nfrom xmcgan import train, config"),
        ("__init__.py", "from xmcgan.pipeline import Pipeline"),
    ],
)
def test_a_right_import_is_let_through(importer, source):
    assert not wrong_imports(PACKAGE / importer, source)
