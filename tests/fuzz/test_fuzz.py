"""Random damage to every kind of file that a command reads; for an hour: ``python benchmarks/fuzz.py --minutes 60``."""

import pytest

from fuzz import fuzz
from fuzz_targets import make_targets

CASES = 400


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    for folder in (root, *root.parents[:2]):
        folder.chmod(0o755)  # cases without permission are read as nobody
    return make_targets(root)


def test_damage_gives_the_right_result_or_one_line(targets):
    quick = [target for target in targets if target.name != "text encoder"]  # transformers takes its time
    outcomes = fuzz(quick, CASES, seed=0)
    assert outcomes.wrong == []
    refused = {target for target, ended in outcomes.counts if ended == "refused"}
    assert refused | {"cache"} == {target.name for target in quick} | {"cache"}  # a cache may be computed anew


def test_a_damaged_text_encoder_is_named(targets):
    encoder = [target for target in targets if target.name == "text encoder"]
    assert fuzz(encoder, 12, seed=0).wrong == []
