"""The names of a server's models."""

import pytest

from xmcgan.serving.models import load_models


def test_models_have_the_names_they_are_given_or_those_of_their_folders(trained):
    models = load_models([f"birds={trained}", str(trained)], device="cpu")
    assert [*models] == ["birds", "trained"]
    assert {model.pipe.step for model in models.values()} == {6}
    assert models["birds"].tokenizer is not models["birds"].pipe.encoder.tokenizer
    with pytest.raises(ValueError, match=f"two models are called trained; give one another name with NAME={trained}"):
        load_models([str(trained), f"trained={trained}"], device="cpu")
