"""The pages are true: their commands parse, their paths exist, and the names that look like ours resolve."""

import ast
import functools
import importlib
import re
import shlex
from dataclasses import MISSING
from pathlib import Path

import pytest

from xmcgan.cli.main import COMMANDS, load
from xmcgan.cli.parser import options_of, parse
from xmcgan.evaluation.metric_names import GROUPS, METRICS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [page for page in PAGES if page.name != "log.md"]  # the log is dated: its names and commands are of their day
SOURCES = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "benchmarks").glob("*.py"))
FILE = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|md|toml|js|html)")


def code(page: Path) -> str:
    """The listings of a page, its inline code, and continued lines joined."""
    text = page.read_text()
    listings = re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.S) + re.findall(r"(?m)^ {4}(\S.*)$", text)
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.S))
    return "\n".join(listings + [re.sub(r"\s+", " ", each) for each in inline]).replace("\\\n", " ")


def inline(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    return {re.sub(r"\s+", " ", each) for each in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)}


def commands(start: str) -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        for line in code(page).splitlines():
            match = re.search(rf"(?:^|\s){start}(?P<arguments>\s.*)?$", line)
            if match:
                found.append((f"{page.name}: {line.strip()}", shlex.split(match["arguments"] or "", comments=True)))
    return found


def flags(arguments: list[str]) -> set[str]:
    return {argument.split("=")[0] for argument in arguments if re.match(r"--[a-z]", argument)}


@functools.cache
def defined() -> set[str]:
    """Every class and function of the sources."""
    nodes = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())))
    return {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}


XMCGAN = commands(r"(?:-m )?xmcgan")


@pytest.mark.parametrize(("line", "arguments"), XMCGAN, ids=[line for line, _ in XMCGAN])
def test_xmcgan_commands_are_real(line, arguments):
    """They parse; one that leaves something out (`...`, RECIPE, a mention of a flag) names real flags at least."""
    found, words = COMMANDS, list(arguments)
    while words and isinstance(found, dict):
        if words[0] in ("COMMAND", "...") or words[0].startswith("--"):
            return
        assert words[0] in found, f"{line}: there is no command {words[0]}"
        found = found[words.pop(0)]
    if isinstance(found, dict) or words[-1:] == ["--help"]:
        return
    options = options_of(load(found))
    known = {option.flag for option in options} | {"--any.field"}
    unknown = {flag.replace("_", "-") for flag in flags(words)} - known
    assert not unknown, f"{line}: no {', '.join(sorted(unknown))}"
    left_out = [
        word for word in words if "..." in word or re.fullmatch("RECIPE|VALUE|--any.field|N|[A-Z]+,[A-Z]+", word)
    ]
    required = {option.flag for option in options if option.default is MISSING and not option.positional}
    arguments_given = words and not words[0].startswith("-")
    if not left_out and required <= flags(words) and (arguments_given or not any(each.positional for each in options)):
        parse(load(found), words, "xmcgan")


BENCHMARKS = commands(r"python benchmarks/(?P<script>\w+)\.py")


@pytest.mark.parametrize("line", [line for line, _ in BENCHMARKS])
def test_benchmark_commands_name_real_flags(line):
    script = re.search(r"benchmarks/\w+\.py", line)[0]
    source = (ROOT / script).read_text()
    known = set(re.findall(r"""["'](--[a-z-]+)["']""", source))
    assert not flags(shlex.split(line.split(script, 1)[1], comments=True)) - known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    assert not [link for link in links if not (page.parent / link).exists()]
    paths = [name for name in inline(page) if FILE.fullmatch(name) and "/" in name]
    places = (ROOT, ROOT / "src" / "xmcgan", page.parent)
    assert not [path for path in paths if not any((place / path).exists() for place in places)]
    tests = re.findall(r"\btests/[\w/]+(?:\.\w+)?", text)
    assert not [path for path in tests if not (ROOT / path).exists()]


def resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            if not hasattr(value, name):
                return False
            value = getattr(value, name)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_resolve(page):
    names, ours = inline(page), defined()
    dotted = set(re.findall(r"\bxmcgan(?:\.\w+)+", page.read_text()))
    assert not [name for name in dotted if not resolves(name)]
    functions = {name[:-2] for name in names if re.fullmatch(r"[a-z]+(?:_[a-z0-9]+)*\(\)", name)}
    classes = {name for name in names if re.fullmatch(r"(?:[A-Z][a-z0-9]+){2,}", name)}
    foreign = {"TypeError", "ValueError"}
    assert not (functions | classes) - ours - foreign


def test_the_page_of_evaluation_lists_every_metric():
    listed = inline(ROOT / "docs/evaluation.md")
    assert not [name for name in (*METRICS, *GROUPS) if name not in listed and not name.startswith("exact-")]
