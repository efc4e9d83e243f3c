"""Algorithm 1: one training step."""

from torch import Tensor
from torch.optim import Adam

from xmcgan.runtime.distributed import average_gradients, average_over_ranks
from xmcgan.training.forward import augmented_traces, forward_both, forward_discriminator
from xmcgan.training.state import TrainingState
from xmcgan.types import Batch


def train_step(state: TrainingState, batches: list[Batch]) -> dict[str, Tensor]:
    """One iteration of Algorithm 1: n_D discriminator steps, one generator step, one EMA update.

    The last discriminator step and the generator step share a forward pass: both gradients are taken at the same
    parameters, then both optimizers step, as in the official implementation.

    Args:
        batches: one for each discriminator step; with several ranks, this rank's part of each.

    Returns:
        every loss and statistic, averaged over the whole batch, detached.
    """
    generator, discriminator, objective = state.generator, state.discriminator, state.objective
    generator_weights, discriminator_weights = list(generator.parameters()), list(discriminator.parameters())

    # Discriminator phase
    for batch in batches[:-1]:
        features, backward = forward_discriminator(state, batch)
        loss_d = objective.discriminator(features.real, features.fake, batch.text, augmented_traces(state, batch))
        backward((loss_d.total, discriminator_weights))
        optimizer_step(state.discriminator_optimizer)

    # Last discriminator step and generator phase
    batch = batches[-1]
    features, backward = forward_both(state, batch)
    loss_d = objective.discriminator(features.real, features.fake, batch.text, augmented_traces(state, batch))
    loss_g = objective.generator(features.real, features.fake, batch.text, features.encoded, features.distances_B)
    backward((loss_d.total, discriminator_weights), (loss_g.total, generator_weights))
    optimizer_step(state.discriminator_optimizer)
    optimizer_step(state.generator_optimizer)

    # Average
    state.ema.update(generator)

    report = {"d_loss": loss_d.total, "g_loss": loss_g.total}
    for terms in (loss_d, loss_g):
        report |= terms.losses | terms.statistics
    return average_over_ranks(report)


def optimizer_step(optimizer: Adam) -> None:
    """Averages the gradients over ranks, steps, and clears them."""
    average_gradients(weight for group in optimizer.param_groups for weight in group["params"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
