"""The optimiser that `fit` uses when it is given none."""

import optax

from jinn.training.memo import remembered

CLIPPING_NORM = 5.0
LONGEST_WARM_UP = 500


@remembered
def default_optimizer(
    learning_rate: float, steps: int, *, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Adam on gradients clipped to norm 5, with linear warm-up and cosine decay to zero.

    The rate rises over the first tenth of the steps (500 steps at most) and then falls as
    ``learning_rate * (1 + cos(pi t)) / 2``.

    Args:
        learning_rate: The highest learning rate.
        steps: Number of steps over which the rate reaches zero.
        weight_decay: Decoupled weight decay (AdamW), relative to the learning rate.

    Returns:
        The optax transformation.

    Reference:
        Decoupled Weight Decay Regularization. Loshchilov, Hutter, 2019.
        https://arxiv.org/abs/1711.05101
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=learning_rate / 100,
        peak_value=learning_rate,
        warmup_steps=min(steps // 10, LONGEST_WARM_UP),
        decay_steps=steps,
    )
    adam = (
        optax.adamw(schedule, weight_decay=weight_decay) if weight_decay else optax.adam(schedule)
    )
    return optax.chain(optax.clip_by_global_norm(CLIPPING_NORM), adam)
