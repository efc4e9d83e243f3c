"""Contrastive losses against the official implementation, against plain formulas and by hand."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from comparison import random_text
from recorded_losses import DTYPES, RECORDED, leaf, recorded, recorded_mask, same
from xmcgan.losses.contrastive import cosine, nt_xent, region_word_scores, symmetric_cross_entropy, trace_divergence
from xmcgan.ops.unit_vectors import UnitRows, unit_rows
from xmcgan.ops.word_scores import RegionContextCosine, word_chunk
from xmcgan.types import TextEmbedding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["word", "word_g"])
def test_region_word_loss_matches_the_recording(case, dtype):
    rho_1, rho_2, inverse_temperature = RECORDED[f"{case}/gammas"].tolist()
    regions, words, mask = leaf("image_feat", dtype), leaf("word_feat", dtype), recorded_mask()
    scores = region_word_scores(regions, words, mask, rho_1=rho_1, rho_2=rho_2, temperature=1 / inverse_temperature)
    contrast = symmetric_cross_entropy(scores)
    to_regions, to_words = torch.autograd.grad(contrast.loss, [regions, words])
    same(scores, f"{case}/sim")
    same(contrast.loss, f"{case}/loss")
    same(contrast.accuracy, f"{case}/acc")
    same(contrast.entropy, f"{case}/entropy")
    same(to_regions, f"{case}/grad_image_feat")
    same(to_words, f"{case}/grad_word_feat")
    assert not to_words[~mask].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_region_context_matches_the_recording(dtype):
    # region_word_scores never forms it; the plain formulation below does, and is held to the authors' here.
    real = recorded_mask()[2]
    words = recorded("word_feat", dtype)[2][real]
    same(plain_region_context(recorded("image_feat", dtype), words, rho_1=5.0), "word_attention/context")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("case", "temperature"), [("contrastive", 0.1), ("contrastive_t", 0.5)])
def test_nt_xent_matches_the_recording(case, temperature, dtype):
    a, b = leaf("sent_a", dtype), leaf("sent_b", dtype)
    contrast = nt_xent(a, b, temperature)
    same(cosine(a, b) / temperature, f"{case}/logits")
    check_contrast(contrast, case, a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_raw_scores_matches_the_recording(dtype):
    # The release can leave out the normalisation; nothing of ours does, so only what follows the scores is compared.
    a, b = leaf("sent_a", dtype), leaf("sent_b", dtype)
    scores = a @ b.T / 2
    same(scores, "contrastive_raw/logits")
    check_contrast(symmetric_cross_entropy(scores), "contrastive_raw", a, b)


def check_contrast(contrast, case: str, a: Tensor, b: Tensor) -> None:
    to_a, to_b = torch.autograd.grad(contrast.loss, [a, b])
    same(contrast.loss, f"{case}/loss")
    same(contrast.accuracy, f"{case}/acc")
    same(contrast.entropy, f"{case}/entropy")
    same(to_a, f"{case}/grad_a")
    same(to_b, f"{case}/grad_b")


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_matches_the_recording(dtype):
    parameter = leaf("adam/p0", dtype)
    optimizer = torch.optim.Adam([parameter], lr=float(RECORDED["adam/lr"]), betas=(0.5, 0.999), eps=1e-8)
    steps = []
    for gradient in recorded("adam/grads", dtype):
        parameter.grad = gradient
        optimizer.step()
        steps.append(parameter.detach().clone())
    same(torch.stack(steps), "adam/p")


def plain_region_context(regions_BRD: Tensor, words_TD: Tensor, rho_1: float) -> Tensor:
    """c_bi = sum_j softmax_j(rho_1 cos(w_i, r_bj)) r_bj, of unit regions: (B, T, D)."""
    regions_BRD = regions_BRD / regions_BRD.norm(dim=-1, keepdim=True)
    words_TD = words_TD / words_TD.norm(dim=-1, keepdim=True)
    attention_BTR = F.softmax(rho_1 * torch.einsum("td,brd->btr", words_TD, regions_BRD), dim=-1)
    return torch.einsum("btr,brd->btd", attention_BTR, regions_BRD)


def plain_region_word_scores(
    regions_BRD: Tensor, words_BTD: Tensor, mask_BT: Tensor, *, rho_1: float, rho_2: float, temperature: float
) -> Tensor:
    """The same scores by way of the images x sentences x words x D tensor of region contexts."""
    context = torch.stack([plain_region_context(regions_BRD, words, rho_1) for words in words_BTD], dim=1)
    similarity = F.cosine_similarity(words_BTD[None], context, dim=-1)  # images, sentences, words
    similarity = (rho_2 * similarity).masked_fill(~mask_BT[None], -torch.inf)
    return similarity.logsumexp(-1) / (rho_2 * temperature)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 5),
    regions=st.integers(1, 9),
    length=st.integers(1, 6),
    dim=st.integers(1, 7),
    chunk=st.one_of(st.none(), st.integers(1, 40)),
    rho_1=st.floats(0.5, 20),
    rho_2=st.floats(0.5, 20),
    seed=st.integers(0, 10_000),
)
def test_region_word_scores_need_no_context_tensor(batch, regions, length, dim, chunk, rho_1, rho_2, seed):
    generator = torch.Generator().manual_seed(seed)
    r, w = (
        torch.randn(batch, n, dim, dtype=torch.float64, generator=generator).requires_grad_() for n in (regions, length)
    )
    lengths = torch.randint(1, length + 1, (batch, 1), generator=generator)
    mask = torch.arange(length) < lengths
    sharpness = {"rho_1": rho_1, "rho_2": rho_2, "temperature": 0.3}
    ours = region_word_scores(r, w, mask, chunk=chunk, **sharpness)
    plain = plain_region_word_scores(r, w, mask, **sharpness)
    torch.testing.assert_close(ours, plain, rtol=1e-8, atol=1e-8)
    projection = torch.randn(plain.shape, dtype=torch.float64, generator=generator)
    of_ours = torch.autograd.grad((ours * projection).sum(), [r, w])
    of_plain = torch.autograd.grad((plain * projection).sum(), [r, w])
    # Where all regions of an image nearly cancel, the cosine is ill conditioned: compare at the gradient's scale.
    for one, other in zip(of_ours, of_plain, strict=True):
        assert (one - other).norm() <= 1e-6 * max(1.0, float(other.norm()))
    assert not of_ours[1][~mask].any()


def test_an_image_whose_regions_are_zero_fits_every_sentence_alike_and_has_no_gradient():
    text = random_text(3)
    regions = torch.randn(3, 9, 6)
    regions[1] = 0
    sharpness = {"rho_1": 5.0, "rho_2": 5.0, "temperature": 0.3}
    regions.requires_grad_()
    scores = region_word_scores(regions, text.words_BTD, text.mask_BT, **sharpness)
    plain = plain_region_word_scores(regions.detach(), text.words_BTD, text.mask_BT, **sharpness)
    torch.testing.assert_close(scores[::2], plain[::2])
    torch.testing.assert_close(scores[1], text.mask_BT.sum(1).log() / (5.0 * 0.3))  # exp(0) of every real word
    (gradient,) = torch.autograd.grad(scores.square().sum(), regions)
    assert gradient.isfinite().all()
    assert not gradient[1].any()
    assert gradient[0].any()


@pytest.mark.slow
def test_region_word_scores_of_the_papers_batch_fit_in_a_gigabyte():
    """256 pictures of 256 regions, captions of 64 words, forward and backward; counted, on tensors without memory."""
    # The larger chunk needs the more memory: "meta" stands for any device but a CPU.
    chunks = [word_chunk(torch.empty(256, 256, 768, device=device)) for device in ("cpu", "meta")]
    assert chunks == [16, 128]
    alive_in = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/memory.py"))["Alive"]
    with FakeTensorMode(), alive_in() as alive:
        words_BTD, regions_BRD = torch.empty(256, 64, 768), torch.empty(256, 256, 768, requires_grad=True)
        inputs = alive.now
        # ``region_word_scores`` but for the mask, whose values a fake tensor does not have: all words are real.
        regions = UnitRows.apply(regions_BRD)
        cosine_NB = RegionContextCosine.apply(unit_rows(words_BTD.flatten(0, 1)), regions, 5.0, chunks[1])
        scores_BB = (5.0 * cosine_NB.view(256, 64, 256)).logsumexp(1).T / (5.0 / 50)
        (gradient,) = torch.autograd.grad(symmetric_cross_entropy(scores_BB).loss, regions_BRD)
    assert gradient.shape == regions_BRD.shape
    contexts = 4 * 256 * 256 * 64 * 768  # bytes of the plain formulation's context vectors alone
    assert alive.most - inputs < 1e9 < contexts / 10


def test_region_word_scores_do_not_depend_on_the_chunk():
    text, regions = random_text(), torch.randn(4, 9, 6)
    whole = region_word_scores(regions, text.words_BTD, text.mask_BT, chunk=1000)
    for chunk in (1, 2, 3, 7):
        torch.testing.assert_close(region_word_scores(regions, text.words_BTD, text.mask_BT, chunk=chunk), whole)


def test_padding_has_no_influence_on_region_word_scores():
    text, regions = random_text(), torch.randn(4, 9, 6)
    before = region_word_scores(regions, text.words_BTD, text.mask_BT)
    text.words_BTD[~text.mask_BT] = 1e3
    torch.testing.assert_close(region_word_scores(regions, text.words_BTD, text.mask_BT), before, rtol=0, atol=0)


def test_a_large_rho_2_takes_the_best_word():
    text, regions = random_text(), torch.randn(4, 9, 6)
    text = TextEmbedding(text.words_BTD.double(), text.mask_BT, text.sentence_BD.double())
    regions = regions.double()
    best = torch.empty(4, 4, dtype=torch.float64)
    for sentence in range(4):
        words = text.words_BTD[sentence][text.mask_BT[sentence]]
        context = plain_region_context(regions, words, rho_1=5.0)
        best[:, sentence] = F.cosine_similarity(words, context, dim=-1).amax(1)
    for rho_2 in (10.0, 1e2, 1e4):
        scores = region_word_scores(regions, text.words_BTD, text.mask_BT, rho_2=rho_2, temperature=1.0)
        # log-sum-exp of T values lies between their maximum and log(T) above it.
        excess = scores - best
        assert (excess >= -1e-12).all()
        assert (excess <= math.log(5) / rho_2 + 1e-12).all()


def test_nt_xent_of_two_pairs_by_hand():
    # cos = [[1, 0.6], [0, 0.8]] at temperature 0.5: scores [[2, 1.2], [0, 1.6]].
    a, b = torch.tensor([[2.0, 0.0], [0.0, 3.0]]).double(), torch.tensor([[5.0, 0.0], [0.6, 0.8]]).double()
    rows = math.log1p(math.exp(1.2 - 2)) + math.log1p(math.exp(0 - 1.6))
    columns = math.log1p(math.exp(0 - 2)) + math.log1p(math.exp(1.2 - 1.6))
    contrast = nt_xent(a, b, temperature=0.5)
    assert contrast.loss.item() == pytest.approx(rows / 2 + columns / 2)
    assert contrast.accuracy.item() == 1.0
    swapped = nt_xent(a, b.flip(0), temperature=0.5)
    # The pairs are now (1, 0.6) and (0, 0): cosines [[0.6, 1], [0.8, 0]].
    assert swapped.accuracy.item() == 0.0


def test_entropy_is_that_of_the_softmax_over_the_others():
    uniform = symmetric_cross_entropy(torch.zeros(3, 3))
    assert uniform.entropy.item() == pytest.approx(math.log(3))
    assert uniform.loss.item() == pytest.approx(2 * math.log(3))  # both directions, summed
    certain = symmetric_cross_entropy(1000 * torch.eye(3))
    assert certain.entropy.item() == pytest.approx(0)
    assert certain.loss.item() == pytest.approx(0)


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_nt_xent_is_never_negative_and_symmetric(batch):
    a, b = torch.randn(2, batch, 5)
    assert nt_xent(a, b).loss >= 0
    torch.testing.assert_close(nt_xent(a, b).loss, nt_xent(b, a).loss)
    torch.testing.assert_close(nt_xent(3 * a, b).loss, nt_xent(a, b).loss)


def test_a_batch_of_one_has_no_negatives():
    with pytest.raises(ValueError, match="batch of at least 2"):
        nt_xent(torch.randn(1, 5), torch.randn(1, 5))
    with pytest.raises(ValueError, match="batch of at least 2"):
        symmetric_cross_entropy(torch.zeros(1, 1))


def test_the_trace_divergence_equals_the_plain_formula():
    torch.manual_seed(0)
    regions, words = torch.randn(3, 16, 6, dtype=torch.float64), torch.randn(3, 5, 6, dtype=torch.float64)
    traces = torch.rand(3, 5, 16, dtype=torch.float64)
    traces = traces / traces.sum(-1, keepdim=True)
    traces[0, 1] = 0  # a word nobody pointed at
    traces[2, :, :4] = 0
    traces[2] = traces[2] / traces[2].sum(-1, keepdim=True)
    plain, count = 0.0, 0
    for image in range(3):
        for word in range(5):
            if traces[image, word].sum() == 0:
                continue
            cosines = torch.stack([F.cosine_similarity(words[image, word], region, dim=0) for region in regions[image]])
            alpha = (5 * cosines).softmax(0)
            pairs = zip(traces[image, word].tolist(), alpha.tolist(), strict=True)
            plain += sum(p * math.log(p / q) for p, q in pairs if p > 0)
            count += 1
    found = trace_divergence(regions, words, traces, rho_1=5.0)
    assert found.item() == pytest.approx(plain / count, rel=1e-12)


def test_the_trace_divergence_is_least_where_the_trace_is_the_attention():
    regions = torch.randn(2, 16, 6, dtype=torch.float64, requires_grad=True)
    words = torch.randn(2, 5, 6, dtype=torch.float64)
    cosines = F.normalize(words, dim=-1) @ F.normalize(regions, dim=-1).mT
    loss = trace_divergence(regions, words, (5 * cosines).softmax(-1).detach())
    (gradient,) = torch.autograd.grad(loss, regions)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max().item() == pytest.approx(0, abs=1e-12)


def test_without_a_trace_the_divergence_is_zero_and_so_is_its_gradient():
    regions = torch.randn(2, 16, 6, requires_grad=True)
    loss = trace_divergence(regions, torch.randn(2, 5, 6), torch.zeros(2, 5, 16))
    loss.backward()
    assert loss.item() == 0
    assert regions.grad is not None
    assert not regions.grad.any()
