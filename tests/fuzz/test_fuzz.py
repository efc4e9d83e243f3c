"""Random damage to every kind of file that a command reads; for an hour: ``python benchmarks/fuzz.py --minutes 60``."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fuzz import fuzz
from fuzz_targets import make_targets

CASES = 400


@pytest.fixture(scope="module")
def targets():
    # Cases without permission are read as nobody, who cannot enter the folders of pytest.
    with TemporaryDirectory(prefix="xmcgan-fuzz-") as root:
        Path(root).chmod(0o755)
        yield make_targets(Path(root))


@pytest.mark.slow
def test_damage_gives_the_right_result_or_one_line(targets):
    quick = [target for target in targets if target.name != "text encoder"]  # transformers takes its time
    outcomes = fuzz(quick, CASES, seed=0)
    assert outcomes.wrong == []
    refused = {target for target, ended in outcomes.counts if ended == "refused"}
    assert refused == {target.name for target in quick} - {"cache"}
    assert outcomes.counts["cache", "other"] > 0  # its features are computed anew


def test_a_damaged_text_encoder_is_named(targets):
    encoder = [target for target in targets if target.name == "text encoder"]
    assert fuzz(encoder, 12, seed=0).wrong == []
