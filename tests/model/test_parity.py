"""One training step against the authors' code, quantity by quantity (tests/golden/README.md, docs/parity.md).

``our_step`` runs the networks and losses once and names everything it sees as the recording does. In float64 each
array must agree to 1e-6 (relative, Euclidean). In float32 it may be ten times as far from the recorded float64 value
as the authors' own code was when run in float32, where one rounding of float32 is the least that a deviation counts.

Float32 is run twice, for PyTorch's fast kernels on a CPU add up thousands of float32 numbers one by one in a backward
pass: batch norm in channels_last, and oneDNN in the gradient of a bias. So the formulas are compared with the kernels
that add up carefully, array by array, and the fast ones are held to a flat bound.

    pytest tests/model/test_parity.py -rP

prints the worst error of every group of quantities: the table of docs/parity.md.
"""

import copy
from collections.abc import Iterable
from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden_arrays import below, golden, meta, nchw, relative_error
from pairs import discriminate_pair
from xmcgan.losses.objective import LossWeights, Objective
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.model.modulation import SpatialCondition
from xmcgan.model.official_weights import load_official_weights, official_name, to_official, to_official_layout
from xmcgan.ops.batch_norm import BatchNorm2d
from xmcgan.training.ema import EMA
from xmcgan.training.state import TrainingState
from xmcgan.training.step import train_step
from xmcgan.types import Batch, TextEmbedding

RECORDED, META = golden("xmcgan_128"), meta("xmcgan_128")
FLOAT64_TOLERANCE = 1e-6
FLOAT32_FACTOR = 10
FLOAT32_EPS = float(np.finfo(np.float32).eps)  # less than this is recorded of some scalars, by luck or as exactly 0
FAST_KERNELS_TOLERANCE = 1e-5
GRADIENT_FREE = set(META["zero_gradient_g_params"])

PROBED_IN_GENERATOR = {
    "Dense_0": "sentence_projection",
    "Dense_1": "stem",
    "Conv_0": "region_projection",
    "Conv_1": "to_rgb",
    "LocalConditionalBatchNorm_0": "norm",
    **{f"GenBlock_{k}": f"global_blocks.{k}" for k in range(2)},
    **{f"GenBlock_{k}/ConditionalBatchNorm_{n}": f"global_blocks.{k}.norm{n + 1}" for k in range(2) for n in range(2)},
    **{f"GenSpatialBlock_{k}": f"attentional_blocks.{k}" for k in range(3)},
    **{
        f"GenSpatialBlock_{k}/LocalConditionalBatchNorm_{n}": f"attentional_blocks.{k}.norm{n + 1}"
        for k in range(3)
        for n in range(2)
    },
}
PROBED_IN_DISCRIMINATOR = {
    "DiscOptimizedBlock_0": "stem",
    **{f"DiscBlock_{k}": f"blocks.{k}" for k in range(5)},
    "SpectralConv_0": "region_projection",
    "SpectralDense_0": "unconditional",
    "SpectralDense_1": "sentence_projection",
}
TERMS = {
    "d_hinge": "d_hinge",
    "g_hinge": "g_hinge",
    "fake_word": "fake_word",
    "fake_sentence": "fake_sentence",
    "image": "image_discriminator",
    "real_word": "real_word",
    "real_sentence": "real_sentence",
}
CONTRASTS = {
    "image_contrastive": "image_discriminator",
    **{name: name for name in ("real_word", "fake_word", "real_sentence", "fake_sentence")},
}


@cache
def our_step(dtype: torch.dtype, fast_kernels: bool = True) -> dict[str, np.ndarray]:
    """All recorded quantities of one step, under the recording's names and in its layout."""
    with nullcontext() if fast_kernels else torch.backends.mkldnn.flags(enabled=False):
        return run_step(dtype, fast_kernels)


def run_step(dtype: torch.dtype, fast_kernels: bool) -> dict[str, np.ndarray]:
    generator = Generator(image_size=128, width=4, text_dim=20, noise_dim=12, stem="noise").to(dtype)
    discriminator = Discriminator(image_size=128, width=4, text_dim=20).to(dtype)
    load_official_weights(generator, below(RECORDED, "g/"))
    load_official_weights(discriminator, below(RECORDED, "d/"))
    if not fast_kernels:
        for module in generator.modules():
            if isinstance(module, BatchNorm2d):
                module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    initial = copy.deepcopy(generator)
    text, noise_BZ = recorded_text(dtype), recorded("in/z", dtype)
    real_B3HW = nchw(RECORDED["in/image4"].astype(np.float32) / np.float32(15), dtype) * 2 - 1
    seen: dict[str, np.ndarray] = {}

    # Forward, in training mode.
    drawing = watch(generator, PROBED_IN_GENERATOR)
    discriminating = watch(discriminator.network, PROBED_IN_DISCRIMINATOR)
    conditions: list[SpatialCondition] = []
    generator.attentional_blocks[0].register_forward_pre_hook(lambda _, inputs: conditions.append(inputs[1]))
    drawn = generator(noise_BZ, text)
    real, fake = discriminate_pair(discriminator, real_B3HW, drawn.images_B3HW, text)
    seen |= images("gen_train", drawn.images_B3HW)
    seen["attn_train"] = array(drawn.attention_BRT)
    seen["region_context_train"] = array(conditions[0].attention_BRT @ conditions[0].words_BTD)
    seen["d_logits_train"] = array(torch.cat([real.logits_B, fake.logits_B])[:, None])
    # The release's stem and sentence projection: one channel-last, the other run once for both halves.
    drawing["Dense_1"] = [stem.unflatten(1, (-1, 4, 4)) for stem in drawing["Dense_1"]]
    discriminating["SpectralDense_1"] = discriminating["SpectralDense_1"][:1]
    seen |= {f"probe/g_train/{name}": probe(outputs) for name, outputs in drawing.items()}
    seen |= {f"probe/d_train/{name}": probe(outputs) for name, outputs in discriminating.items()}
    seen |= {f"g_state_after/{name}": value for name, value in state(generator).items()}
    seen |= {f"d_state_after/{name}": value for name, value in state(discriminator).items()}

    # Losses and their gradients. The recording's images are in [0, 1] and ours in [-1, 1]: d/d(ours) is half of its.
    d_terms = Objective().discriminator(real, fake, text)
    g_terms = Objective().generator(real, fake, text)
    losses, statistics = d_terms.losses | g_terms.losses, d_terms.statistics | g_terms.statistics
    for theirs, ours in CONTRASTS.items():
        seen[f"stat/{theirs}_loss"] = array(losses[ours])
        seen[f"stat/{theirs}_acc"] = array(statistics[f"{ours}_accuracy"])
        seen[f"stat/{theirs}_entropy"] = array(statistics[f"{ours}_entropy"])
    seen["loss/d_loss"], seen["loss/g_loss"] = array(d_terms.total), array(g_terms.total)
    seen["loss/c_loss_d"] = array(losses["real_word"] + losses["real_sentence"])
    seen["loss/c_loss_g"] = array(losses["fake_word"] + losses["fake_sentence"] + losses["image_discriminator"])
    d_weights = dict(discriminator.named_parameters())
    g_weights = dict(generator.named_parameters())
    for theirs, ours in TERMS.items():
        to_image = gradients(losses[ours], [drawn.images_B3HW])
        seen[f"part/loss/{theirs}"] = array(losses[ours])
        seen[f"part/gradnorm_image/{theirs}"] = 2 * norm(to_image)
        seen[f"part/gradnorm_dparams/{theirs}"] = norm(gradients(losses[ours], d_weights.values()))
    (to_image,) = gradients(g_terms.total, [drawn.images_B3HW])
    seen |= of_map("dgloss_dimage", 2 * to_image)
    d_gradients = dict(zip(d_weights, gradients(d_terms.total, d_weights.values()), strict=True))
    g_gradients = dict(zip(g_weights, gradients(g_terms.total, g_weights.values()), strict=True))
    seen |= {f"grad_d/{name}": value for name, value in released(discriminator, d_gradients).items()}
    seen |= {f"grad_g/{name}": value for name, value in released(generator, g_gradients).items()}

    # Evaluation, at the weights of before the update and the state of after the forward pass.
    with torch.no_grad():
        initial.load_state_dict(dict(initial.named_parameters()) | dict(generator.named_buffers()))
        evaluated = initial.eval()(noise_BZ, text)
        seen |= images("gen_eval", evaluated.images_B3HW)
        seen["attn_eval"] = array(evaluated.attention_BRT)
        outputs = discriminate_pair(copy.deepcopy(discriminator).eval(), real_B3HW, drawn.images_B3HW, text)
        seen["d_logits_eval"] = array(torch.cat([output.logits_B for output in outputs])[:, None])

    # One Adam step each, then the average.
    betas = (META["beta1"], META["beta2"])
    for weights, step_gradients, lr in ((d_weights, d_gradients, META["d_lr"]), (g_weights, g_gradients, META["g_lr"])):
        for name, weight in weights.items():
            weight.grad = step_gradients[name]
        torch.optim.Adam(weights.values(), lr, betas, eps=META["adam_eps"]).step()
    seen |= {f"d_params_after/{name}": value for name, value in released(discriminator, d_weights).items()}
    seen |= {f"g_params_after/{name}": value for name, value in released(generator, g_weights).items()}
    with torch.no_grad():
        decay = META["ema_decay"]
        for average, weight in zip(initial.parameters(), generator.parameters(), strict=True):
            average.copy_(decay * average + (1 - decay) * weight)
        seen |= images("gen_eval_ema", initial(noise_BZ, text).images_B3HW)
    averages = released(initial, dict(initial.named_parameters()))
    # The recording leaves out large averages.
    seen |= {f"ema_after/{name}": value for name, value in averages.items() if value.size <= 2000}
    return seen


def recorded(key: str, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(RECORDED[key]).to(dtype)


def recorded_text(dtype: torch.dtype) -> TextEmbedding:
    words_BTD = recorded("in/embedding", dtype)
    mask_BT = torch.arange(words_BTD.shape[1]) < torch.from_numpy(RECORDED["in/max_len"])
    return TextEmbedding(words_BTD, mask_BT, recorded("in/sentence_embedding", dtype))


def watch(network: nn.Module, paths: dict[str, str]) -> dict[str, list[Tensor]]:
    """The outputs of some modules under the release's names, filled in as they run."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in paths}
    for name, path in paths.items():
        network.get_submodule(path).register_forward_hook(
            lambda _, __, value, kept=outputs[name]: kept.append(value.detach())
        )
    return outputs


def probe(outputs: list[Tensor]) -> np.ndarray:
    """Mean, standard deviation and eight values of a module's output, NHWC, real examples before generated ones."""
    flat = array(torch.cat(outputs).movedim(1, -1)).ravel()
    return np.array([flat.mean(), flat.std(), *flat[np.arange(8) * (flat.size // 8)]])


def images(name: str, images_B3HW: Tensor) -> dict[str, np.ndarray]:
    return of_map(name, (images_B3HW + 1) / 2)


def of_map(name: str, values_B3HW: Tensor) -> dict[str, np.ndarray]:
    """The whole map or every third pixel of it, whichever was recorded, and its moments."""
    whole = array(values_B3HW.permute(0, 2, 3, 1))
    kept = {name: whole} if name in RECORDED else {f"{name}_s3": whole[:, ::3, ::3]}
    return kept | {f"{name}_moments": np.stack([whole.mean((1, 2)), whole.std((1, 2))])}


def array(value: Tensor) -> np.ndarray:
    return value.detach().double().numpy()


def gradients(loss: Tensor, inputs: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a loss, zero where it does not depend on the input at all."""
    inputs = list(inputs)
    if not loss.requires_grad:
        return tuple(map(torch.zeros_like, inputs))
    return torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True)


def norm(tensors: Iterable[Tensor]) -> np.ndarray:
    return np.sqrt(sum(np.square(array(tensor)).sum() for tensor in tensors))


def released(network: Generator | Discriminator, tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors shaped as a network's parameters, under the release's names and in its layout."""
    return {
        official_name(network, name).removeprefix("params/"): to_official_layout(name, tensor.detach()).astype(
            np.float64
        )
        for name, tensor in tensors.items()
    }


def state(network: Generator | Discriminator) -> dict[str, np.ndarray]:
    """Batch-norm statistics, or power-iteration vectors."""
    arrays = to_official(network)
    return {name: value.astype(np.float64) for name, value in arrays.items() if not name.startswith("params/")}


# Every recorded array belongs to the first group that its name matches.
GROUPS = {
    "training image": ("gen_train", "gen_train_moments"),
    "evaluation image": ("gen_eval_s3", "gen_eval_moments", "attn_eval"),
    "evaluation image, averaged weights": ("gen_eval_ema_",),
    "attention and word contexts": ("attn_train", "region_context_train"),
    "every module of the generator": ("probe/g_train/",),
    "every module of the discriminator": ("probe/d_train/",),
    "batch-norm statistics": ("g_state_after/",),
    "power-iteration vectors": ("d_state_after/",),
    "logits, training": ("d_logits_train",),
    "logits, evaluation": ("d_logits_eval",),
    "15 statistics": ("stat/",),
    "totals": ("loss/",),
    "each term": ("part/loss/",),
    "each term's gradient, its norm": ("part/gradnorm_image/", "part/gradnorm_dparams/"),
    "gradient of the generated image": ("dgloss_dimage_",),
    "gradients of the discriminator": ("grad_d/",),
    "gradients of the generator": ("grad_g/",),
    "discriminator after Adam": ("d_params_after/",),
    "generator after Adam": ("g_params_after/",),
    "averaged weights": ("ema_after/",),
}
INPUTS = ("g/", "d/", "in/", "meta_json")


def group_of(key: str) -> str | None:
    return next((group for group, prefixes in GROUPS.items() if key.startswith(prefixes)), None)


def gradient_free(key: str) -> bool:
    """A weight of the generator whose gradient is mathematically zero: what is recorded of it is rounding noise."""
    head, _, name = key.partition("/")
    return head in ("grad_g", "g_params_after", "ema_after") and name in GRADIENT_FREE


def noise_bound(key: str, dtype: torch.dtype) -> float:
    """The tolerance for gradient-free weights, gradients and averages: Adam turns noise into steps of up to lr."""
    if key.startswith("grad_g/"):
        largest_noise = max(recorded_deviation(f"grad_g/{name}")[0] for name in GRADIENT_FREE)
        return 1e-12 if dtype == torch.float64 else FLOAT32_FACTOR * largest_noise
    return META["g_lr"] * (1 - META["ema_decay"] if key.startswith("ema_after/") else 1) + FLOAT32_EPS


def recorded_deviation(key: str) -> tuple[float, float]:
    """Of the authors' code in float32: largest absolute and relative Euclidean deviation."""
    deviations = META["f32_deviation_max_abs_and_rel_l2"]
    if key.startswith("probe/"):
        # Not recorded for probes: that of the state and the logits, the README's summary of activations.
        return 0.0, 1e-6
    if key.startswith("part/gradnorm"):
        # One number may come out close by luck: a change of z by one part in 2^24 moves the norm of the image term's
        # gradient by 1.2e-6, where 1.4e-7 is recorded. So the largest of these 14 counts.
        return 0.0, max(relative for name, (_, relative) in deviations.items() if name.startswith("part/gradnorm"))
    return tuple(deviations[key.removesuffix("_s3").removesuffix("_moments")])


def errors(key: str, ours: dict[str, np.ndarray]) -> tuple[float, float]:
    """Largest absolute and relative Euclidean deviation of ours from what was recorded."""
    theirs = RECORDED[key].astype(np.float64)
    return float(np.abs(ours[key] - theirs).max()), relative_error(ours[key], theirs)


def errors_of(group: str, ours: dict[str, np.ndarray], label: str) -> dict[str, tuple[float, float]]:
    """The errors of a group's arrays but the gradient-free, whose bound is another; prints the worst."""
    keys = [key for key in RECORDED if not key.startswith(INPUTS) and group_of(key) == group]
    found = {key: errors(key, ours) for key in keys if not gradient_free(key)}
    worst = max(found, key=lambda key: found[key][1])
    theirs = max(recorded_deviation(key)[1] for key in found)
    print(f"| {label} | {group} | {len(found)} | {found[worst][1]:.1e} | {theirs:.1e} | {worst}")
    return found


def noise_too_far(group: str, ours: dict[str, np.ndarray], dtype: torch.dtype) -> dict[str, float]:
    """The gradient-free arrays of a group that deviate more than noise explains."""
    found = {key: errors(key, ours)[0] for key in RECORDED if gradient_free(key) and group_of(key) == group}
    return {key: error for key, error in found.items() if error > noise_bound(key, dtype)}


def test_everything_recorded_is_compared():
    results = {key for key in RECORDED if not key.startswith(INPUTS)}
    assert results == set(our_step(torch.float64))
    assert {group_of(key) for key in results} == set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_float64(group):
    ours = our_step(torch.float64)
    found = errors_of(group, ours, "float64")
    assert not {key: error for key, (_, error) in found.items() if not error <= FLOAT64_TOLERANCE}
    assert not noise_too_far(group, ours, torch.float64)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # PyTorch's, wherever oneDNN is switched off
@pytest.mark.parametrize("group", GROUPS)
def test_float32(group):
    ours = our_step(torch.float32, fast_kernels=False)
    too_far = {}
    for key, (absolute, relative) in errors_of(group, ours, "float32").items():
        their_absolute, their_relative = recorded_deviation(key)
        close = relative <= FLOAT32_FACTOR * max(their_relative, FLOAT32_EPS)
        if not (close or absolute <= FLOAT32_FACTOR * their_absolute):
            too_far[key] = (absolute, relative)
    assert not too_far
    assert not noise_too_far(group, ours, torch.float32)


@pytest.mark.parametrize("group", GROUPS)
def test_float32_with_fast_kernels(group):
    found = errors_of(group, our_step(torch.float32), "float32, fast kernels")
    assert not {key: error for key, (_, error) in found.items() if not error <= FAST_KERNELS_TOLERANCE}


def test_train_step_matches_the_recording():
    """``train_step`` and ``EMA`` themselves, from the recorded weights: parameters, average and state afterwards."""
    generator = Generator(image_size=128, width=4, text_dim=20, noise_dim=12, stem="noise").double()
    discriminator = Discriminator(image_size=128, width=4, text_dim=20).double()
    load_official_weights(generator, below(RECORDED, "g/"))
    load_official_weights(discriminator, below(RECORDED, "d/"))
    real_B3HW = nchw(RECORDED["in/image4"].astype(np.float32) / np.float32(15)) * 2 - 1
    batch = Batch(real_B3HW, recorded_text(torch.float64), recorded("in/z", torch.float64))
    betas = (META["beta1"], META["beta2"])
    training = TrainingState(
        generator=generator,
        discriminator=discriminator,
        ema=EMA(generator, decay=META["ema_decay"]),
        generator_optimizer=torch.optim.Adam(generator.parameters(), META["g_lr"], betas, eps=META["adam_eps"]),
        discriminator_optimizer=torch.optim.Adam(discriminator.parameters(), META["d_lr"], betas, eps=META["adam_eps"]),
        objective=Objective(LossWeights(image_encoder=0.0)),
    )
    report = train_step(training, [batch])
    assert abs(report["d_loss"].item() / RECORDED["loss/d_loss"] - 1) < 1e-6
    assert abs(report["g_loss"].item() / RECORDED["loss/g_loss"] - 1) < 1e-6
    compared = 0
    for network, weights, state in (
        (generator, "g_params_after/", "g_state_after/"),
        (discriminator, "d_params_after/", "d_state_after/"),
        (training.ema.network, "ema_after/", "g_state_after/"),
    ):
        for name, value in to_official(network).items():
            collection, _, parameter = name.partition("/")
            key = weights + parameter if collection == "params" else state + name
            if key not in RECORDED or parameter in META["zero_gradient_g_params"]:
                continue  # large averages were not recorded; a step along rounding noise is nobody's
            assert relative_error(value, RECORDED[key]) < 1e-6, key
            compared += 1
    assert compared > 150
