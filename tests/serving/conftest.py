"""Models and servers that the tests of this folder share."""

import pytest


@pytest.fixture(scope="session")
def tiny_model(trained):
    """A model that draws in a few milliseconds; it has no vocabulary."""
    from servers import served
    from xmcgan import Pipeline

    return served("tiny", Pipeline.from_pretrained(trained, device="cpu"))


@pytest.fixture(scope="session")
def api(tiny_model, tmp_path_factory) -> str:
    """The address of a server of the tiny model."""
    from servers import running
    from xmcgan.serving.settings import ServeSettings

    folder = tmp_path_factory.mktemp("urls")
    with running({"tiny": tiny_model}, ServeSettings(url_folder=folder)) as url:
        yield url
