"""The generator refuses settings out of range."""

import pytest

from xmcgan.model.generator import Generator


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 96}, "image_size is 96; it can be 64, 128, 256"),
        ({"stem": "sentence"}, "stem is 'sentence'; it can be condition, noise"),
        ({"modulation": "none"}, "modulation is 'none'; it can be attentional, plain"),
        ({"modulation_upsampling": "bicubic"}, "modulation_upsampling is 'bicubic'; it can be nearest, bilinear"),
    ],
)
def test_an_unknown_setting_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Generator(**{"image_size": 64, "width": 2, "text_dim": 5, **wrong})
