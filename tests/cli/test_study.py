"""``xmcgan study``: its arguments, and a package that is missing."""

import sys

import pytest

from xmcgan.cli.main import main
from xmcgan.cli.study.create import folders_of


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        (["a=x", "b"], "--systems has 'b'; it should be NAME=DIR"),
        (["a=x", "b="], "--systems has 'b='; it should be NAME=DIR"),
        (["a=x", "b=y", "a=z"], "--systems names a twice"),
    ],
)
def test_a_system_is_a_name_and_a_folder(systems, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        folders_of(systems)


COMMANDS = {
    "create": ["study", "create", "new", "--systems", "a=x", "b=y"],
    "serve": ["study", "serve", "studies/coco"],
    "results": ["study", "results", "answers.json"],
}


@pytest.mark.parametrize(
    ("command", "package"),
    [("create", "sqlalchemy"), ("create", "alembic"), ("serve", "alembic"), ("results", "scipy")],
)
def test_a_missing_extra_is_named(command, package, capsys, monkeypatch):
    class Missing:
        @staticmethod
        def find_spec(name, *_):
            if name == package:
                raise ModuleNotFoundError(name=package)

    for name in [name for name in sys.modules if name.startswith(("xmcgan.study", f"{package}.")) or name == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    assert main(COMMANDS[command]) == 2
    said = f"xmcgan: {package} is not installed; studies need pip install 'xmcgan[study]'\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("command", ["create", "results"])
def test_a_module_that_no_extra_brings_is_no_missing_extra(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "xmcgan.study.create", None)
    monkeypatch.setitem(sys.modules, "xmcgan.study.analysis.results", None)
    with pytest.raises(ModuleNotFoundError, match=r"xmcgan\.study"):
        main(COMMANDS[command])
