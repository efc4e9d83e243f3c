"""Training data of the evaluators that ship."""

from xmcgan.scenes import World
from xmcgan.training.evaluators.scenes import SCENES_DRAWN


def test_shipped_evaluators_use_a_split_of_their_own():
    """They are trained on the third split alone; what is measured on are others' scenes of the validation split."""
    assert SCENES_DRAWN["default"][0] == World()
    assert SCENES_DRAWN["default"][1] >= 20_000
    assert SCENES_DRAWN["few"][0] == World(most_objects=2)
