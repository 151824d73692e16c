"""`fit` on several devices: the same losses, one all-reduce a step, and its errors."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinn
from benchmarks.collectives import executed_collectives
from jinn.flows import continuous_flow, real_nvp
from jinn.training.optimizer import default_optimizer
from jinn.training.placement import make_placement
from jinn.training.shards import is_row_mean
from jinn.training.sources import ArraySource, SimulatorSource
from jinn.training.step import make_run, start
from jinn.training.weights import structure_of

KEY = jax.random.key(0)
MODEL = {"kernel": jnp.ones((4, 6)), "bias": jnp.zeros(3), "scale": jnp.ones(())}

pytestmark = pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")


def mesh(n=2):
    return jax.make_mesh((n,), ("data",), devices=jax.devices()[:n])


def simulate(key, n):
    x = jax.random.normal(key, (n, 4))
    return x, x[:, :2] ** 2


DATA = simulate(KEY, 100)


def predicted(model, x):
    hidden = jnp.tanh(x @ model["kernel"] * model["scale"])
    return hidden[:, :2] * hidden[:, 2:4] + hidden[:, 4:] + jnp.mean(model["bias"])


def quiet_loss(model, batch, key):
    error = jnp.mean((predicted(model, batch[0]) - batch[1]) ** 2)
    return error, {"error": error}


def noisy_loss(model, batch, key):
    noise = 0.1 * jax.random.normal(key, batch[1].shape)
    return jnp.mean((predicted(model, batch[0]) - batch[1] - noise) ** 2), {}


def coupled_loss(model, batch, key):
    """No mean over rows."""
    return jnp.sqrt(jnp.mean((predicted(model, batch[0]) - batch[1]) ** 2)), {}


def batches():
    rows = [np.arange(8 * i, 8 * i + 8) % 100 for i in range(30)]
    return iter([tuple(np.asarray(leaf)[row] for leaf in DATA) for row in rows])


def trained(data, loss=quiet_loss, **options):
    """What `fit` gives for the model."""
    common = {"steps": 30, "batch_size": 8, "learning_rate": 0.01, "progress": False}
    return jinn.fit(KEY, MODEL, data, loss=loss, **(common | options))


@pytest.mark.parametrize(
    ("data", "loss", "sharded"),
    [
        ("arrays", quiet_loss, False),
        ("arrays", noisy_loss, False),
        ("simulator", quiet_loss, True),
        ("simulator", coupled_loss, False),
        ("iterator", quiet_loss, False),
        ("iterator", noisy_loss, True),
    ],
)
def test_the_result_is_that_of_one_device(data, loss, sharded):
    given = {"arrays": lambda: DATA, "simulator": lambda: simulate, "iterator": batches}[data]
    options = {"ema_decay": 0.9, "validation": None if data == "iterator" else 13}
    one, two = (
        trained(given(), loss, **options, **placed)
        for placed in ({}, {"mesh": mesh(), "shard_parameters": sharded})
    )
    for name, values in one.history.items():
        np.testing.assert_allclose(two.history[name], values, rtol=1e-4, err_msg=name)
    for name, leaf in one.flow.items():
        np.testing.assert_allclose(two.flow[name], leaf, rtol=1e-3, atol=1e-5)
        assert len(two.flow[name].sharding.device_set) == 2
    assert two.flow["kernel"].sharding.is_fully_replicated != sharded
    assert two.flow["bias"].sharding.is_fully_replicated  # 3 numbers


def test_losses_are_told_apart():
    def of(loss):
        return is_row_mean(lambda batch, key: loss(MODEL, batch, key), DATA, KEY)

    def wants_many(model, batch, key):
        if len(batch[0]) < 100:
            raise ValueError("too few rows")
        return quiet_loss(model, batch, key)

    assert of(quiet_loss) and not of(noisy_loss) and not of(coupled_loss) and not of(wants_many)


def warmed_up_loss(model, batch, key, step=None):
    """A mean over rows at step 0 only."""
    weight = 1.0 if step is None else jnp.minimum(1.0, step / 5)
    error = (predicted(model, batch[0]) - batch[1]) ** 2
    return jnp.mean(error) + weight * jnp.sqrt(jnp.mean(error)), {}


def vanishing_loss(model, batch, key):
    """A mean over rows as long as the bias is 0."""
    error = (predicted(model, batch[0]) - batch[1]) ** 2
    return jnp.mean(error) + jnp.var(model["bias"][:2][None] * batch[0][:, :2]), {}


@pytest.mark.parametrize("loss", [warmed_up_loss, vanishing_loss])
def test_losses_that_are_means_over_rows_at_first_only(loss):
    one, two = (trained(DATA, loss, **placed) for placed in ({}, {"mesh": mesh()}))
    np.testing.assert_allclose(two.history["loss"], one.history["loss"], rtol=1e-4)


@pytest.mark.thorough
def test_continuous_flows_are_trained_on_a_mesh():
    flow = continuous_flow(2, hidden=(4,), rngs=0)
    x = DATA[0][:, :2]
    options = {"steps": 2, "batch_size": 8, "validation": None, "progress": False}
    one, two = (jinn.fit(KEY, flow, x, **options, **to) for to in ({}, {"mesh": mesh()}))
    np.testing.assert_allclose(two.history["loss"], one.history["loss"], rtol=1e-4)


@pytest.mark.thorough
def test_data_on_a_mesh_with_explicit_axes():
    explicit = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    assert explicit.axis_types == (jax.sharding.AxisType.Explicit,)
    rows = jax.NamedSharding(explicit, jax.P("data"))
    given = jax.device_put(DATA, rows)
    one = trained(DATA)
    for placed in ({}, {"mesh": explicit}):
        found = trained(given, **placed)
        np.testing.assert_allclose(found.history["loss"], one.history["loss"], rtol=1e-4)


def collectives(model, loss, source, n, *, by_shards=True, microbatches=1):
    """What a step executes."""
    structure, placement = structure_of(model), make_placement(mesh(n), False)
    optimizer = default_optimizer(1e-3, 100, weight_decay=0.0)
    options = {"by_shards": by_shards, "microbatches": microbatches}
    run = make_run(structure, loss, optimizer, 20, None, placement, **options)
    state = start(structure, model, loss, optimizer, source, KEY, placement=placement)
    key, source = placement.put_everywhere((KEY, source))
    return executed_collectives(run.lower(state, source, key, jnp.int32(5)).compile().as_text())


@pytest.mark.parametrize(
    "source", [ArraySource(DATA, jnp.arange(100), 8), SimulatorSource(simulate, 8)]
)
def test_a_step_executes_one_all_reduce(source):
    found = collectives(MODEL, quiet_loss, source, 2)
    assert found.counts == {"all-reduce": 1}
    numbers = sum(leaf.size for leaf in MODEL.values()) + 2  # the loss and its metric
    assert found.bytes == 4 * numbers


def test_collectives_in_loops_count_as_often_as_they_run():
    def summed(x):
        def step(carry, row):
            return carry + jax.lax.psum(jnp.sin(carry) * row, "data"), None

        return jax.lax.scan(step, jnp.zeros(6), x)[0]

    spec = jax.sharding.PartitionSpec
    devices = make_placement(mesh(), False).mesh
    assert devices is not None
    split = jax.shard_map(
        summed, mesh=devices, in_specs=spec(None, "data"), out_specs=spec(), check_vma=False
    )
    found = executed_collectives(jax.jit(split).lower(jnp.ones((7, 12))).compile().as_text())
    assert found.counts == {"all-reduce": 7} and found.bytes == 7 * 6 * 4
    with pytest.raises(ValueError, match="text of a compiled program"):
        executed_collectives("nothing")


@pytest.mark.thorough
def test_an_ensemble_trains_one_after_the_other():
    x = jax.random.normal(KEY, (200, 2))
    flow = real_nvp(2, condition_dim=1, depth=1, hidden=4, rngs=0)
    posterior = jinn.fit_posterior(
        KEY, (x, x[:, :1]), flow=flow, ensemble=2, steps=3, batch_size=8, mesh=mesh(),
        progress=False,
    )  # fmt: skip
    assert posterior.sample(KEY, (3,), jnp.zeros(1)).shape == (3, 2)


# --- In processes of their own -------------------------------------------------------------------

ON_MANY = """
import jax, numpy as np
import jinn
import test_mesh
from jinn.flows import continuous_flow, real_nvp
from jinn.losses import negative_log_likelihood
from jinn.training.sources import ArraySource

x = jax.random.normal(jax.random.key(1), (300, 3))
flow = jinn.initialize(real_nvp(3, condition_dim=2, depth=4, hidden=(8,), rngs=0), x, x[:, :2])
def losses(mesh):
    result = jinn.fit(
        jax.random.key(0), flow, (x, x[:, :2] ** 2), steps=10, batch_size=16, validate_every=1,
        validation=None, mesh=mesh, progress=False,
    )
    return result.history["loss"]
expected = losses(None)
for n in (1, 2, 4, 8):
    np.testing.assert_allclose(losses(test_mesh.mesh(n)), expected, rtol=1e-5, atol=1e-5)
    source = ArraySource((x, x[:, :2]), jax.numpy.arange(300), 16)
    if n == 8:
        found = test_mesh.collectives(flow, negative_log_likelihood, source, n)
        assert found.counts == {"all-reduce": 1}, found
print("same")
"""

OF_TWO = """
import sys
import jax
jax.distributed.initialize(f"127.0.0.1:{sys.argv[1]}", 2, int(sys.argv[2]))
import numpy as np
import jinn
import test_mesh

mesh = jax.make_mesh((jax.device_count(),), ("data",))
assert mesh.size == 4 and len(jax.local_devices()) == 2
everything = list(test_mesh.batches())
part = slice(4 * jax.process_index(), 4 * jax.process_index() + 4)
own = iter([tuple(leaf[part] for leaf in batch) for batch in everything])
for data in (test_mesh.DATA, test_mesh.simulate, own):
    result = test_mesh.trained(data, validation=None, mesh=mesh)
    print("losses", *result.history["loss"])
own = {"weights": np.full(3, 7.0 + jax.process_index())}
print("agreed", *test_mesh.make_placement(mesh, False).agreed(own)["weights"])
jax.distributed.shutdown()
"""


def environment(devices):
    return os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
    }


@pytest.mark.thorough
def test_a_flow_trains_alike_on_up_to_eight_devices():
    done = subprocess.run(
        [sys.executable, "-c", ON_MANY], env=environment(8), capture_output=True, text=True
    )
    assert done.stdout.endswith("same\n"), done.stderr


@pytest.mark.thorough
def test_two_processes_train_together_each_on_its_part_of_a_batch():
    port = str(20_000 + os.getpid() % 20_000)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OF_TWO, port, str(number)],
            env=environment(2), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300) for process in processes]
    for output, errors in outputs:
        found = [line.split()[1:] for line in output.splitlines() if line.startswith("losses")]
        assert len(found) == 3, errors
        assert "agreed 7.0 7.0 7.0" in output
        for data, values in zip((DATA, simulate, batches()), found, strict=True):
            expected = trained(data, validation=None).history["loss"]
            np.testing.assert_allclose(np.array(values, float), expected, rtol=1e-4)
