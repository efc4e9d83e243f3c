"""Results as lines: what goes in comes out, and what not a result is named by file and line."""

import json
import math
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcgan import __version__
from xmcgan.evaluation.results import Result, append_results, from_line, read_results, to_line

FID = Result(
    metric="fid",
    value=9.33,
    uncertainty=None,
    samples=30_000,
    system="XMC-GAN",
    protocol={"network": "inception-v3-tf", "weights_sha256": "ab12", "splits": 10, "png": True, "seed": None},
    seconds=12.5,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(min_size=1, max_size=8).map(lambda text: " ".join(text.split())).filter(bool)
settings = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | finite | st.text(max_size=8)


def test_a_result_line_has_every_field():
    assert json.loads(to_line(FID)) == {
        "metric": "fid",
        "value": 9.33,
        "uncertainty": None,
        "samples": 30_000,
        "system": "XMC-GAN",
        "protocol": {"network": "inception-v3-tf", "weights_sha256": "ab12", "splits": 10, "png": True, "seed": None},
        "seconds": 12.5,
        "version": __version__,
    }


@given(
    st.builds(
        Result,
        metric=words,
        value=finite,
        uncertainty=st.none() | finite.map(abs),
        samples=st.integers(1, 10**9),
        system=words,
        protocol=st.dictionaries(words, settings, max_size=4),
        seconds=finite.map(abs),
        version=words,
    )
)
def test_a_line_read_is_the_result_written(result):
    line = to_line(result)
    assert "\n" not in line
    assert from_line(line) == result


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": math.nan}, "value of a result is nan; it should be a finite number"),
        ({"value": math.inf}, "value of a result is inf"),
        ({"value": 10**400}, "value of a result is 1000"),
        ({"value": True}, "value of a result is True"),
        ({"value": "9.33"}, "value of a result is '9.33'"),
        ({"value": np.float32(9.33)}, "value of a result is np.float32"),  # which JSON does not know
        ({"uncertainty": -1.0}, "uncertainty of a result is -1.0; it should be a finite number of at least 0, or None"),
        ({"uncertainty": math.nan}, "uncertainty of a result is nan"),
        ({"samples": 0}, "samples of a result is 0; it should be an integer of at least 1"),
        ({"samples": 30_000.0}, "samples of a result is 30000.0"),
        ({"samples": True}, "samples of a result is True"),
        ({"seconds": -1}, "seconds of a result is -1"),
        ({"system": " "}, "system of a result is ' '; it should be words separated by single spaces"),
        ({"system": "XMC-GAN\n"}, r"system of a result is 'XMC-GAN\n'"),
        ({"metric": ""}, "metric of a result is ''"),
        ({"version": None}, "version of a result is None"),
        ({"protocol": None}, "protocol of a result is None; it should be settings by name"),
        ({"protocol": {"": 1}}, "protocol of a result is ''"),
        ({"protocol": {"resize": {"size": 299}}}, "protocol.resize of a result is {'size': 299}; it should be text"),
        ({"protocol": {"confidence": math.inf}}, "protocol.confidence of a result is inf"),
    ],
)
def test_invalid_fields_are_rejected(change, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        replace(FID, **change)


def test_append_and_read(tmp_path):
    path = tmp_path / "new/results.jsonl"
    append_results(path, [FID])
    append_results(path, [replace(FID, metric="is", value=30.45, uncertainty=0.2), replace(FID, system="真实")])
    append_results(path, [])
    assert read_results(path) == [
        FID,
        replace(FID, metric="is", value=30.45, uncertainty=0.2),
        replace(FID, system="真实"),
    ]
    assert path.read_text(encoding="utf-8").count("\n") == 3


def test_blank_lines_and_a_missing_final_newline_are_accepted(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(f"\n{to_line(FID)}\n   \n{to_line(FID)}")  # blank lines, and none at the end
    assert read_results(path) == [FID, FID]


def without(name: str) -> str:
    return json.dumps({key: value for key, value in asdict(FID).items() if key != name})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{]", "the line is not JSON"),
        ("[1]", "not a result; it should be an object with metric, value, uncertainty"),
        (without("samples"), "not a result: it lacks samples"),
        (json.dumps(asdict(FID) | {"valeu": 1}), "not a result: it has unknown valeu"),
        (to_line(FID).replace("9.33", "NaN"), "value of a result is nan"),
        (to_line(FID).replace("9.33", "1e999"), "value of a result is inf"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, said):
    path = tmp_path / "results.jsonl"
    path.write_text(f"{to_line(FID)}\n\n{line}\n{to_line(FID)}\n")
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 3: {said}")) as caught:
        read_results(path)
    assert "cut off" not in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="line 1: 'utf-8' codec"):
        read_results(path)


@pytest.mark.parametrize("kept", [1, 40, len(to_line(FID)) - 1])
def test_a_torn_last_line_is_reported(tmp_path, kept):
    path = tmp_path / "results.jsonl"
    torn = f"{to_line(FID)}\n{to_line(FID)[:kept]}"
    path.write_text(torn)
    with pytest.raises(
        ValueError, match=r"line 2: the line is not JSON.*; the line is incomplete because a write was interrupted"
    ):
        read_results(path)
    with pytest.raises(ValueError, match="ends with an incomplete line"):
        append_results(path, [FID])
    assert path.read_text() == torn


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl does not exist; it should be a results file"):
        read_results(tmp_path / "nothing.jsonl")
