"""Algorithm 1: one training step."""

from torch import Tensor
from torch.optim import Adam

from xmcgan.losses.objective import Terms
from xmcgan.runtime.distributed import average_gradients, average_over_ranks, world_size
from xmcgan.training.forward import augmented_traces, forward_both, forward_discriminator
from xmcgan.training.gradient_cache import Features
from xmcgan.training.penalties import with_penalties
from xmcgan.training.state import TrainingState
from xmcgan.types import Batch


def train_step(state: TrainingState, batches: list[Batch], *, discriminator_alone: bool = False) -> dict[str, Tensor]:
    """One iteration of Algorithm 1: n_D discriminator steps, one generator step, one EMA update.

    The last discriminator step and the generator step share a forward pass: both gradients are taken at the same
    parameters, then both optimizers step, as in the official implementation.

    Args:
        batches: one for each discriminator step; with several ranks, this rank's part of each.
        discriminator_alone: leave out the generator step (``training.discriminator_warmup``).

    Returns:
        every loss and statistic, averaged over the whole batch, detached.
    """
    generator, discriminator, objective = state.generator, state.discriminator, state.objective
    generator_weights, discriminator_weights = list(generator.parameters()), list(discriminator.parameters())

    # Discriminator phase
    for batch in batches[:-1]:
        features, backward = forward_discriminator(state, batch)
        loss_d = discriminator_terms(state, features, batch)
        backward((loss_d.total, discriminator_weights))  # adds the gradients to .grad
        optimizer_step(state.discriminator_optimizer)

    # Last discriminator step and generator phase
    batch = batches[-1]
    features, backward = forward_both(state, batch)
    loss_d = discriminator_terms(state, features, batch)
    loss_g = objective.generator(features.real, features.fake, batch.text, features.encoded, features.distances_B)
    if discriminator_alone:
        backward((loss_d.total, discriminator_weights))
        optimizer_step(state.discriminator_optimizer)
    else:
        backward((loss_d.total, discriminator_weights), (loss_g.total, generator_weights))
        optimizer_step(state.discriminator_optimizer)
        optimizer_step(state.generator_optimizer)

    # EMA; its updates count the steps (``penalties.due``)
    state.ema.update(generator)

    report = {"d_loss": loss_d.total, "g_loss": loss_g.total}
    for terms in (loss_d, loss_g):
        report |= terms.losses | terms.statistics
    if state.adaptive is None:
        return average_over_ranks(report)
    return update_ada(state, features, report, images=len(batches) * len(batch.noise_BZ) * world_size())


def discriminator_terms(state: TrainingState, features: Features, batch: Batch) -> Terms:
    """What the discriminator minimises: the objective, and the gradient penalties, if this step computes them."""
    terms = state.objective.discriminator(features.real, features.fake, batch.text, augmented_traces(state, batch))
    return with_penalties(terms, features.penalties_BK, state)


def update_ada(
    state: TrainingState, features: Features, report: dict[str, Tensor], *, images: int
) -> dict[str, Tensor]:
    """One ADA update of the augmentation's strength (Karras et al. 2020); returns the report, averaged over ranks.

    Args:
        images: real images that all ranks have seen in the step.
    """
    assert state.adaptive is not None
    report |= {"real_sign": features.real.logits_B.detach().sign().mean()}
    report |= {"augmentation": report["real_sign"].new_tensor(state.adaptive.strength)}
    averaged = average_over_ranks(report)
    state.adaptive.update(float(averaged["real_sign"]), images)
    return averaged


def optimizer_step(optimizer: Adam) -> None:
    """Averages the gradients over ranks, steps, and clears them."""
    average_gradients(weight for group in optimizer.param_groups for weight in group["params"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
