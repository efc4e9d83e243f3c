"""The completion script, sourced and used in a real bash."""

import shutil
import subprocess

import pytest

from xmcgan.cli.main import COMMANDS, main


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    path = tmp_path_factory.mktemp("completion") / "xmcgan.bash"
    path.write_text(printed("bash"))
    return path


def printed(shell: str) -> str:
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["completion", shell]) == 0
    return out.getvalue()


def completions(script, *words: str) -> list[str]:
    """What bash offers for the last word, as it calls a completion function."""
    array = " ".join(f"'{word}'" for word in words)
    commands = f"""
        source {script}
        COMP_WORDS=({array}) COMP_CWORD={len(words) - 1} COMP_LINE="{" ".join(words)}"
        "$(complete -p xmcgan | sed -E 's/.*-F ([^ ]+).*/\\1/')" xmcgan '{words[-1]}' '{words[-2]}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", commands], check=True, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout.split()


def test_a_verb_is_completed(script):
    assert completions(script, "xmcgan", "gener") == ["generate"]
    assert completions(script, "xmcgan", "train-") == ["train-dual-encoder", "train-evaluators"]
    assert set(completions(script, "xmcgan", "")) == set(COMMANDS)


def test_the_verb_of_a_group_is_completed(script):
    assert completions(script, "xmcgan", "data", "pre") == ["prepare"]


def test_a_flag_is_completed(script):
    assert completions(script, "xmcgan", "generate", "--prec") == ["--precision"]
    assert completions(script, "xmcgan", "train", "scenes-64", "--training.batch") == [
        "--training.batch-size",
        "--training.batch-norm-batches",
    ]
    assert completions(script, "xmcgan", "data", "prepare", "coco14", "--max") == ["--max-bad-share"]


def test_a_value_is_completed(script):
    assert completions(script, "xmcgan", "train", "scenes-64-p") == ["scenes-64-plus"]
    assert completions(script, "xmcgan", "generate", "--precision", "b") == ["bfloat16"]
    assert completions(script, "xmcgan", "completion", "f") == ["fish"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_know_verbs_and_flags(shell):
    script = printed(shell)
    assert all(word in script for word in ("generate", "prepare", "max-bad-share", "scenes-64-plus"))
