"""What no test may change, because other threads of its process use it: the tests' servers run in such threads."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def changes_of_time(source: str) -> list[int]:
    """Lines that replace a function of the module ``time`` for the whole process."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "setattr"
        and "time" in ast.unparse(node.args[0]).strip("'\"").split(".")
    ]


def test_no_test_replaces_the_clock_of_the_process():
    """With a clock at 0, an event loop waits for its next timer as long as the machine has been up."""
    wrong = [
        f"{path.relative_to(TESTS)}:{line}: replace the module's `time`, not a function of time itself"
        for path in sorted(TESTS.rglob("*.py"))
        for line in changes_of_time(path.read_text())
    ]
    assert wrong == []


def test_such_a_replacement_is_found():
    assert changes_of_time('monkeypatch.setattr(progress.time, "monotonic", clock)') == [1]
    assert changes_of_time('patch.setattr(time, "sleep", pause)') == [1]
    assert changes_of_time('patch.setattr("time.monotonic", clock)') == [1]
    assert changes_of_time('patch.setattr(progress, "time", SimpleNamespace(monotonic=clock))') == []
