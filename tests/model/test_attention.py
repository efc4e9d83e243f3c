"""Attention to words against the official implementation."""

import pytest
import torch

from recorded_losses import DTYPES, leaf, recorded, recorded_mask, same
from xmcgan.model.attention import attend_to_words


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["attn_g", "attn_g_nomask"])
def test_word_context_matches_the_recording(case, dtype):
    regions, words = leaf("image_feat", dtype), leaf("word_feat", dtype)
    mask = recorded_mask() if case == "attn_g" else torch.ones_like(recorded_mask())
    attention, mixed = attend_to_words(regions, words, mask, 15.0)
    context = attention @ mixed
    projected = (context * recorded("attn_g/cot_context", dtype)).sum()
    projected = projected + (attention * recorded("attn_g/cot_attn", dtype)).sum()
    to_regions, to_words = torch.autograd.grad(projected, [regions, words])
    same(context, f"{case}/context")
    same(attention, f"{case}/attn")
    same(to_regions, f"{case}/grad_region_feat")
    same(to_words, f"{case}/grad_word_feat")
    assert not attention.mT[~mask].any()
    assert not to_words[~mask].any()
