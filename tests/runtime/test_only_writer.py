"""Nothing in the library writes a file but through runtime/files.py, so that tests can let every write fail."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import xmcgan

PACKAGE = Path(xmcgan.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE) != Path("runtime/files.py"))

ROOM = {"atomic_file", "atomic_folder", "atomic_stream", "named_when_whole", "private_folder"}
"""What yields a temporary name: within its block anything may write, to that name."""

METHODS = {
    "write_text", "write_bytes", "touch", "rename", "symlink_to", "hardlink_to", "mkdir", "save", "savefig",
    "to_parquet", "tofile", "savetxt", "savez", "dump", "save_file", "copy", "copy2", "copyfile", "copytree", "move",
    "mkdtemp", "mkstemp", "NamedTemporaryFile", "urlretrieve", "extractall", "extract", "get_file", "put_file",
}  # fmt: skip
"""Names of functions and methods that write files; ``Path.replace`` is known by its single argument."""

MEMORY = ("BytesIO", "StringIO")

OTHERS = {
    ("runtime/locks.py", "write_text"): "the number in a lock; it may fail",
    ("runtime/progress.py", "os.open"): "/dev/null",
    ("profiling/timing.py", "write_text"): "/proc",
    ("profiling/bench.py", "save"): "pictures of a temporary folder, to time reading them",
    ("evaluation/results.py", "open"): "only looks whether it can be opened",
    ("inference/model_files.py", "open"): "sorts a header, within atomic_file of the function that calls it",
    ("data/remote.py", "get_file"): "copies of a temporary folder",
    ("data/prepared/url_output.py", "get_file"): "copies of a temporary folder",
    ("data/prepared/url_output.py", "open"): "a temporary folder",
    ("data/prepared/url_output.py", "write_text"): "a temporary folder",
    ("data/prepared/url_output.py", "put_file"): "storage behind a URL, where nothing can be renamed as on a disk",
    ("training/checkpoint.py", "rename"): "a checkpoint that is removed",
    ("study/create.py", "os.open"): "within atomic_file",
}
"""What may write by itself, and why."""


def writes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every call that writes, outside the blocks of the room, and not to memory."""
    yield from found_in(tree, inside=False, memory=set())


def found_in(node: ast.AST, *, inside: bool, memory: set[str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.FunctionDef):
        memory = {
            target.id
            for each in ast.walk(node)
            if isinstance(each, ast.Assign) and isinstance(each.value, ast.Call) and called(each.value) in MEMORY
            for target in each.targets
            if isinstance(target, ast.Name)
        }
    if isinstance(node, ast.With):
        inside = inside or any(
            isinstance(item.context_expr, ast.Call) and called(item.context_expr) in ROOM for item in node.items
        )
    if isinstance(node, ast.Call) and not inside and (name := writer(node, memory)):
        yield node.lineno, name
    for child in ast.iter_child_nodes(node):
        yield from found_in(child, inside=inside, memory=memory)


def called(call: ast.Call) -> str:
    """The last part of a called name."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def writer(call: ast.Call, memory: set[str]) -> str | None:
    """The name of a call that writes a file; None for others."""
    name, values = called(call), [*call.args, *(keyword.value for keyword in call.keywords)]
    owner = call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
    if any(isinstance(value, ast.Name) and value.id in memory for value in values):
        return None
    if name == "open":
        flags = ast.dump(call)
        if owner == "os":
            return "os.open" if any(flag in flags for flag in ("O_WRONLY", "O_RDWR", "O_CREAT")) else None
        after = call.args[int(isinstance(call.func, ast.Name)) :]  # the file of the built-in function
        values = [*after, *(keyword.value for keyword in call.keywords)]
        modes = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        return "open" if any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes) else None
    if name == "replace" and len(call.args) == 1 and not call.keywords and isinstance(call.func, ast.Attribute):
        return "replace"
    if owner in ("files", "copy", "json") or (name == "copy" and owner not in ("shutil",)):
        return None  # copies of objects, and text that is returned
    return name if name in METHODS and isinstance(call.func, ast.Attribute) | (name == "save_file") else None


def test_only_one_room_writes():
    found = [
        f"{place}:{line}: {name}"
        for place, path in ((path.relative_to(PACKAGE).as_posix(), path) for path in FILES)
        for line, name in writes(ast.parse(path.read_text()))
        if (place, name) not in OTHERS
    ]
    assert not found, "these write without runtime/files.py"


def test_the_exceptions_are_still_there():
    for place, name in OTHERS:
        assert name.split(".")[-1] in {called(node) for node in ast.walk(ast.parse((PACKAGE / place).read_text()))
                                       if isinstance(node, ast.Call)}, (place, name)  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        "open('a', 'w')", "path.open('ab')", "path.open(mode='r+b')", "os.open(path, os.O_WRONLY)", "a.replace(b)",
        "path.write_text(text)", "image.save(path)", "torch.save(x, path)", "shutil.copy(a, b)", "save_file(x, path)",
        "filesystem.get_file(remote, path)", "with open(x) as f:\n    path.touch()", "tempfile.mkdtemp()",
        "def f():\n    buffer = io.BytesIO()\n    image.save(path)",
    ],
)  # fmt: skip
def test_a_write_is_found(source):
    assert len(list(writes(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "open('a')", "path.open('rb')", "text.replace('a', 'b')", "replace(config, steps=1)", "x.copy()",
        "with atomic_file(path) as partial:\n    image.save(partial)", "os.open(path, os.O_RDONLY)",
        "def f():\n    buffer = io.BytesIO()\n    image.save(buffer, 'PNG')", "files.write_bytes(path, x)",
    ],
)  # fmt: skip
def test_what_writes_no_file_is_let_through(source):
    assert not list(writes(ast.parse(source)))
