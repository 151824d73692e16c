"""`Ensemble`, and `fit_posterior` with several flows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from jinn.bijectors import Affine, Chain, ConditionalAffine, Coupling
from jinn.distributions import StandardNormal, Uniform
from jinn.flows import Ensemble, real_nvp
from jinn.inference.members import record_of, train_members
from jinn.training.memo import remembered

KEY = jax.random.key(0)
MEANS = (-100.0, 0.0, 100.0)


def shifted(mean):
    return jinn.Flow(Affine((1,), shift=[-mean], learned=False), StandardNormal((1,)))


def conditional(seed):
    return real_nvp(2, condition_dim=3, depth=2, hidden=(4,), rngs=seed)


APART = Ensemble([shifted(mean) for mean in MEANS])
CONDITIONAL = Ensemble([conditional(seed) for seed in range(3)])


def member_of(samples):
    return np.asarray(jnp.round(samples[..., 0] / 100.0)).astype(int) + 1


def test_density_is_the_mean_of_the_members():
    x, condition = jax.random.normal(KEY, (5, 2)), jnp.ones((5, 3))
    densities = [jnp.exp(conditional(seed).log_prob(x, condition)) for seed in range(3)]
    mixed = jax.jit(CONDITIONAL.log_prob)(x, condition)
    np.testing.assert_allclose(jnp.exp(mixed), sum(densities) / 3, rtol=1e-5)


def test_no_density_is_lost_far_from_all_members():
    value, gradient = jax.value_and_grad(lambda x: APART.log_prob(x))(jnp.array([1000.0]))
    np.testing.assert_allclose(value, -0.5 * 900.0**2, rtol=1e-4)
    np.testing.assert_allclose(gradient, [-900.0], rtol=1e-4)


@pytest.mark.parametrize("n", [2, 9, 1000])
def test_every_sample_is_of_each_member_with_the_same_chance(n, monkeypatch):
    monkeypatch.setattr("jinn.flows.chunks.DRAWN_ROWS", 768)
    draw = jax.jit(jax.vmap(lambda key: APART.sample(key, (n,))))
    members = member_of(draw(jax.random.split(KEY, 900)))
    for position in (0, n // 2, n - 1):
        shares = np.bincount(members[:, position], minlength=3) / 900
        np.testing.assert_allclose(shares, 1 / 3, atol=0.06)
    together = np.mean(members[:, 0] == members[:, -1])
    assert together < 1 / 3 + 0.06
    if n == 1000:
        counts = np.stack([np.bincount(row, minlength=3) for row in members])
        assert counts.std(axis=0).max() < 9  # independent choices would give 15


def test_conditions_choose_their_members_on_their_own():
    normals = [
        jinn.Flow(
            Chain(
                [
                    Affine((1,), shift=[-mean], learned=False),
                    ConditionalAffine((1,), condition_shape=(1,), hidden=(4,), rngs=0),
                ]
            ),
            StandardNormal((1,)),
        )
        for mean in MEANS
    ]
    samples = Ensemble(normals).sample(KEY, (), jnp.zeros((900, 1)))
    shares = np.bincount(member_of(samples), minlength=3) / 900
    np.testing.assert_allclose(shares, 1 / 3, atol=0.06)


def test_shapes_and_densities_of_samples():
    condition = jnp.ones((4, 3))
    draw = jax.jit(lambda e, c: e.sample_and_log_prob(KEY, (5,), c))
    x, log_prob = draw(CONDITIONAL, condition)
    assert x.shape == (5, 4, 2) and log_prob.shape == (5, 4)
    np.testing.assert_allclose(log_prob, CONDITIONAL.log_prob(x, condition), rtol=1e-5)
    assert CONDITIONAL.sample(KEY, (2, 3), condition[0]).shape == (2, 3, 2)
    assert CONDITIONAL.sample(KEY, (0,), condition).shape == (0, 4, 2)
    empty, none = CONDITIONAL.sample_and_log_prob(KEY, (5,), jnp.zeros((0, 3)), log_det_key=KEY)
    assert empty.shape == (5, 0, 2) and none.shape == (5, 0)
    mapped = jax.vmap(lambda key: CONDITIONAL.sample(key, (7,), condition[0]))(
        jax.random.split(KEY, 3)
    )
    assert mapped.shape == (3, 7, 2)
    assert "size=3" in str(CONDITIONAL)


def test_members_are_flows_built_alike():
    with pytest.raises(ValueError, match=r"one jinn.Flow or more, got \[\]"):
        Ensemble([])
    with pytest.raises(ValueError, match=r"one jinn.Flow or more, got \['int'\]"):
        Ensemble([1])
    with pytest.raises(ValueError, match="same options, got 2 kinds"):
        Ensemble([conditional(0), shifted(0.0)])


PAIRS = (
    jax.random.uniform(KEY, (60, 2)),
    jax.random.uniform(jax.random.key(1), (60, 3)),
)
OPTIONS = {"support": (0, 1), "steps": 6, "batch_size": 20, "progress": False, "validate_every": 3}


def fit_several(flow=None, **options):
    return jinn.fit_posterior(KEY, PAIRS, flow=flow or conditional(0), **OPTIONS | options)


@pytest.mark.thorough
def test_flows_are_trained_one_after_the_other_and_saved(tmp_path):
    posterior = fit_several(ensemble=3)
    assert isinstance(posterior.flow, Ensemble) and posterior.flow.size == 3
    history = posterior.training.history
    np.testing.assert_array_equal(history["member"], [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(history["step"], [3, 6] * 3)
    assert len(set(history["validation_loss"])) == 6
    y = jnp.zeros((4, 3))
    samples = posterior.sample(KEY, 100, y)
    assert samples.shape == (100, 4, 2) and bool(((samples > 0) & (samples < 1)).all())
    posterior.save(tmp_path / "posterior.npz")
    loaded = jinn.Posterior.load(tmp_path / "posterior.npz")
    np.testing.assert_array_equal(loaded.sample(KEY, 100, y), samples)


def outcome(flow, losses, *, interrupted=False):
    losses = np.asarray(losses, float)
    history = {"step": np.arange(len(losses)), "validation_loss": losses}
    return jinn.FitResult(flow, history, interrupted, 1)


@pytest.mark.parametrize(
    ("interrupted_in", "kept"),
    [
        (None, ["second", "other", "other"]),
        (0, ["trial of first"]),
        (1, ["trial of second"]),
        (2, ["trial of second"]),
        (3, ["second"]),
        (4, ["second", "other"]),
    ],
)
def test_flows_like_the_best_candidate_are_trained(interrupted_in, kept, monkeypatch):
    monkeypatch.setattr("jinn.training.together._free_cores", lambda: 1)
    first = real_nvp(2, condition_dim=3, depth=1, hidden=(4,), rngs=0)
    second = conditional(0)
    calls = []

    def call(key, flow, prefix):
        name = prefix + ("first" if flow is first else "second" if flow is second else "other")
        losses = {"trial of first": [3.0, 2.0, np.nan], "trial of second": [5.0, 1.0, 4.0]}
        calls.append((name, flow.specification, jax.random.key_data(key).tolist()))
        interrupted = len(calls) - 1 == interrupted_in
        return outcome(name, losses.get(name, [np.nan]), interrupted=interrupted)

    members = train_members(
        KEY,
        [first, second],
        3,
        lambda key, flow, _: call(key, flow, ""),
        lambda key, flow, _: call(key, flow, "trial of "),
    )
    assert [member.flow for member in members] == kept
    assert [member.interrupted for member in members] == [False] * (len(kept) - 1) + [
        interrupted_in is not None
    ]
    if interrupted_in is None:
        names = ["trial of first", "trial of second", "second", "other", "other"]
        assert [call[0] for call in calls] == names
        assert {call[1] for call in calls[1:]} == {second.specification}
        keys = [call[2] for call in calls]
        assert keys[0] == keys[1] and len(set(map(tuple, keys[1:]))) == 4
    record = record_of(members)
    assert record.skipped_steps == len(kept) and record.interrupted == (interrupted_in is not None)


def train_two(train, try_out):
    candidates = [conditional(0), conditional(1)]
    return train_members(
        KEY,
        candidates,
        2,
        lambda key, flow, _: train(flow is candidates[0]),
        lambda key, flow, _: try_out(flow is candidates[0]),
    )


def diverge():
    raise jinn.TrainingDiverged("not finite", outcome("bad", []))


@pytest.mark.parametrize("cores", [1, 2])
def test_an_interrupt_before_a_validation_returns_the_best_trial(cores, monkeypatch):
    monkeypatch.setattr("jinn.training.together._free_cores", lambda: cores)

    def trial(is_first):
        return outcome("first" if is_first else "second", [1.0 if is_first else 2.0])

    untrained = outcome("untrained", [np.nan], interrupted=True)
    assert train_two(lambda _: untrained, trial)[0].flow == "first"
    better = outcome("better", [0.5, np.nan], interrupted=True)
    members = train_two(lambda is_first: better if is_first else untrained, trial)
    assert [(m.flow, m.interrupted) for m in members] == [("better", True)]

    def press(_):
        raise KeyboardInterrupt

    assert [(m.flow, m.interrupted) for m in train_two(press, trial)] == [("first", True)]
    with pytest.raises(KeyboardInterrupt):
        train_two(press, press)


@pytest.mark.parametrize("cores", [1, 2])
def test_flows_that_diverge_are_left_out(cores, monkeypatch):
    monkeypatch.setattr("jinn.training.together._free_cores", lambda: cores)

    def first_diverges(is_first):
        return diverge() if is_first else outcome("other", [1.0])

    with pytest.warns(UserWarning, match=r"1 of 2 trainings diverged.*left out.*: not finite"):
        members = train_two(first_diverges, lambda is_first: outcome("trial", [2.0 - is_first]))
    assert [(m.flow, m.interrupted) for m in members] == [("other", False)]
    with pytest.warns(UserWarning, match="1 of 2 trainings diverged"):
        members = train_two(lambda is_first: outcome(is_first, [1.0]), first_diverges)
    assert [m.flow for m in members] == [False, False]  # trained from the second candidate
    with pytest.raises(jinn.TrainingDiverged):
        train_two(lambda _: diverge(), lambda _: outcome("trial", [1.0]))


def test_one_flow_unless_told():
    assert isinstance(fit_several().flow, jinn.Flow)


def test_ensembles_that_cannot_be_trained():
    with pytest.raises(ValueError, match="ensemble to be a whole number of at least 1, got 0"):
        fit_several(ensemble=0)
    coupling = Coupling((2,), mask=(True, False), condition_shape=(3,), hidden=(4,), rngs=0)
    own = jinn.Flow(coupling, StandardNormal((2,)))
    with pytest.raises(ValueError, match="ensemble=2 needs flows with weights of their own"):
        fit_several(flow=own, ensemble=2)
    based = conditional(0)
    based.base = Uniform((2,))
    with pytest.raises(ValueError, match=r"ensemble=2 needs flows .*or its parts were changed"):
        fit_several(flow=based, ensemble=2)


def test_results_are_remembered_for_equal_arguments_only():
    make = remembered(lambda a, b=0: object())
    assert make(1) is make(1)
    assert make(1, b=2) is make(1, b=2)
    assert make(1) is not make(2)
    assert make([1]) is not make([1])


def test_training_a_like_flow_compiles_nothing_again():
    traces = []

    def loss(flow, batch, key):
        traces.append(1)
        return -flow.log_prob(*batch).mean(), {}

    options = {"loss": loss, "steps": 3, "batch_size": 20, "progress": False}
    counts, flows = [], []
    for seed in range(3):
        flows.append(jinn.fit(KEY, conditional(seed), PAIRS, **options).flow)
        counts.append(len(traces))
    assert counts[2] - counts[1] < counts[0]
    log_probs = [flow.log_prob(*PAIRS) for flow in flows]
    assert not np.allclose(log_probs[0], log_probs[1])
