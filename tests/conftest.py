"""One thread and no network: tests run side by side and must not depend on anything outside the checkout."""

import copy
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # also of the processes that tests start
# Bit equality is promised for the CPU; the one test for a GPU asks for it by this variable.
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("XMCGAN_TEST_GPU", "")

from collections.abc import Generator
from pathlib import Path

import pytest

# torch takes seconds to import, and the process that hands tests to the others needs none.


@pytest.fixture(scope="session", autouse=True)
def torch_of_one_thread():
    """Already for the fixtures of modules and sessions."""
    import torch

    torch.set_num_threads(1)
    # The first backward pass starts autograd's engine. If fake tensors came before it, the engine would start threads
    # for their device, and no later test could fork.
    torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(autouse=True)
def one_thread_and_a_seed():
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def float64():
    """Float64 as the default: pytest.mark.usefixtures("float64")."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# Made once, read by many tests, written to by none. `tiny` imports much, so fixtures import it when they need it.


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A data folder of Scenes: 24 training pictures."""
    from xmcgan.scenes import write_scenes

    root = tmp_path_factory.mktemp("data") / "scenes"
    return write_scenes(root, size=64, train=24, val=8, evaluator=4, workers=1, progress=False)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory) -> Generator[Path]:
    """A text encoder that reads anything and knows nothing, read once: many tests use it."""
    from tiny import write_encoder
    from xmcgan.encoders import text

    folder = write_encoder(tmp_path_factory.mktemp("encoder") / "tiny-bert")
    load_pretrained, loaded = text.load_pretrained, text.load_pretrained(str(folder))

    def load(name: str, layers: int | None = None):
        if (name, layers) == (str(folder), None):
            return copy.deepcopy(loaded)  # an export changes its encoder's attention
        return load_pretrained(name, layers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "load_pretrained", load)
        yield folder


@pytest.fixture
def config(scenes, encoder_folder):
    """The tiny configuration."""
    from tiny import tiny_config

    return tiny_config(scenes, encoder_folder)


@pytest.fixture(scope="session")
def trained(scenes, encoder_folder, tmp_path_factory) -> Path:
    """A run of 6 steps without an interruption, with checkpoints at 2, 4 and 6."""
    from tiny import run, tiny_config

    output = tmp_path_factory.mktemp("runs") / "trained"
    run(tiny_config(scenes, encoder_folder, steps=6), output)
    return output
