"""What a user gets wrong with residual flows is a ValueError that says what to do."""

import re

import jax
import jax.numpy as jnp
import pytest

from jinn.bijectors import InvertibleResidual
from jinn.flows import residual_flow
from jinn.functional import (
    fixed_point,
    log_det_exact,
    log_det_power_series,
    log_det_russian_roulette,
    residual_forward,
    residual_inverse,
)
from jinn.networks import LipschitzConvNet, LipschitzMLP

X, KEY = jnp.ones((2, 3)), jax.random.key(0)


def half(x, condition=None):
    return 0.5 * x


def first(x):
    return 0.5 * x[..., :1]


CASES = {
    "coefficient 1": (
        lambda: InvertibleResidual((3,), coefficient=1.0, rngs=0),
        "InvertibleResidual: expected a Lipschitz coefficient between 0 and 1, both excluded, got "
        "1.0; 0.9 is usual",
    ),
    "coefficient 0, with a network": (
        lambda: InvertibleResidual((3,), network=half, coefficient=0),
        "both excluded, got 0;",
    ),
    "coefficient of a network": (
        lambda: LipschitzMLP(3, coefficient=-0.5, rngs=0),
        "LipschitzMLP: expected a Lipschitz coefficient between 0 and 1",
    ),
    "coefficient of a flow": (
        lambda: residual_flow(3, coefficient=1.5, rngs=0),
        "Lipschitz coefficient between 0 and 1, both excluded, got 1.5",
    ),
    "estimator": (
        lambda: InvertibleResidual((3,), estimator="hutchinson", rngs=0),
        "expected estimator to be one of ['auto', 'exact', 'power_series', 'russian_roulette'], "
        "got 'hutchinson'",
    ),
    "estimator of a function": (
        lambda: residual_forward(X, half, estimator="auto"),
        "expected estimator to be one of ('exact', 'power_series', 'russian_roulette'), got 'auto'",
    ),
    "solver": (
        lambda: residual_flow(3, solver="bisection", rngs=0),
        "expected solver to be one of ['auto', 'plain', 'anderson', 'newton'], got 'bisection'",
    ),
    "method": (
        lambda: fixed_point(half, X, method="auto"),
        "fixed_point: expected method to be one of ('plain', 'anderson', 'newton'), got 'auto'",
    ),
    "tolerance": (
        lambda: fixed_point(half, X, tolerance=0.0),
        "fixed_point: expected tolerance > 0 and max_steps >= 1, got tolerance=0.0",
    ),
    "numbers": (
        lambda: InvertibleResidual((3,), terms=0, rngs=0),
        "expected terms, probes and max_steps of at least 1 and a positive tolerance, got terms=0",
    ),
    "no rngs": (lambda: InvertibleResidual((3,)), "the default network needs rngs, such as rngs=0"),
    "matrices": (
        lambda: InvertibleResidual((3, 3), rngs=0),
        "events of shape (3, 3) need a network of their own",
    ),
    "network of a wrong shape": (
        lambda: InvertibleResidual((3,), network=lambda x, c: x[..., :2]).forward(X),
        "expected the network to return shape (2, 3), that of x, got (2, 2)",
    ),
    "perceptron of another size": (
        lambda: InvertibleResidual((3,), network=LipschitzMLP(2, hidden=4, rngs=0)),
        "a LipschitzMLP over (2,) does not fit event_shape=(3,); make one over (3,)",
    ),
    "convolutions for other images": (
        lambda: InvertibleResidual(
            (4, 4, 1), network=LipschitzConvNet((3, 3, 1), hidden=2, rngs=0)
        ),
        "a LipschitzConvNet over (3, 3, 1) does not fit event_shape=(4, 4, 1)",
    ),
    "map of a wrong shape": (
        lambda: residual_forward(X, first),
        "expected the map to return the shape of its argument, (2, 3), got (2, 1)",
    ),
    "map of a wrong shape, without the log-determinant": (
        lambda: residual_forward(X, first, with_log_det=False),
        "residual_forward: expected the map to return the shape of its argument, (2, 3), got",
    ),
    "map of a wrong shape, inverted": (
        lambda: residual_inverse(X, first),
        "residual_inverse: expected the map to return the shape of its argument, (2, 3), got",
    ),
    "map of a wrong shape, by a series": (
        lambda: log_det_power_series(first, X, KEY),
        "log_det: expected the map to return the shape of its argument, (2, 3), got (2, 1)",
    ),
    "map of a wrong shape, exactly": (
        lambda: log_det_exact(first, X),
        "log_det: expected the map to return the shape of its argument, (2, 3), got (2, 1)",
    ),
    "fixed point of a wrong shape": (
        lambda: fixed_point(lambda x: half(x).T, X),
        "fixed_point: expected the map to return the shape of its argument, (2, 3), got (3, 2)",
    ),
    "option of no estimator": (
        lambda: residual_forward(X, half, term=3),
        "residual: estimator 'exact' has no options ['term']; it takes []",
    ),
    "option of another estimator": (
        lambda: residual_inverse(X, half, estimator="power_series", rate=0.5),
        "estimator 'power_series' has no options ['rate']; it takes ['terms', 'probes', ",
    ),
    "no network": (
        lambda: InvertibleResidual((3,), network=3),
        "expected network to be callable, got int",
    ),
    "no certificate": (
        lambda: InvertibleResidual((3,), network=half).lipschitz_bound(),
        "function has no method lipschitz_bound()",
    ),
    "activation": (
        lambda: LipschitzMLP(3, activation="silu", rngs=0),
        "expected one of ['elu', 'lipswish', 'tanh'], whose slopes are at most 1, got 'silu'",
    ),
    "hidden": (
        lambda: LipschitzMLP(3, hidden=(), rngs=0),
        "at least one hidden layer, got event (3,) and hidden=()",
    ),
    "no image": (
        lambda: LipschitzConvNet((3, 3), rngs=0),
        "LipschitzConvNet: expected event_shape to be (height, width, channels), got (3, 3)",
    ),
    "condition of a network": (
        lambda: LipschitzMLP(3, condition_shape=(2,), rngs=0)(X),
        "the network expects the condition's entries ['condition'], got []",
    ),
    "depth": (
        lambda: residual_flow(3, depth=0, rngs=0),
        "residual_flow: expected integers event_dim >= 1, condition_dim >= 0 and depth >= 1",
    ),
    "terms": (
        lambda: log_det_power_series(half, X, terms=0),
        "log_det_power_series: expected terms >= 1, got 0",
    ),
    "probes": (
        lambda: log_det_power_series(half, X, KEY, probes=0),
        "log_det: expected probes >= 1, got 0",
    ),
    "kind of probes": (
        lambda: log_det_power_series(half, X, KEY, probe_distribution="uniform"),
        "expected probe_distribution to be 'rademacher' or 'normal', got 'uniform'",
    ),
    "distribution": (
        lambda: log_det_russian_roulette(half, X, KEY, distribution="uniform"),
        "expected distribution to be one of ['geometric', 'poisson'], got 'uniform'",
    ),
    "rate": (
        lambda: log_det_russian_roulette(half, X, KEY, rate=1.0),
        "expected rate between 0 and 1.0 for the geometric distribution and exact_terms >= 0, got "
        "rate=1.0",
    ),
    "standard error of one": (
        lambda: log_det_russian_roulette(half, X, KEY, standard_error=True),
        "a standard error needs a key and probes >= 2",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_errors(case):
    run, text = CASES[case]
    with pytest.raises(ValueError, match=re.escape(text)):
        run()
