"""What all tests share: strict JAX on two CPU devices, hypothesis's profile, the type hook."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Read by JAX, matplotlib and NumPy when they are imported, here and in any process a test starts.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# NumPy's threads of several workers would wait for one another: five times the time of an SVD.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import jax
import jaxtyping
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

# Silent broadcasting is the classic bug of a log-determinant.
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
    "jinn",
    max_examples=20,
    deadline=None,  # the first example compiles
    derandomize="CI" in os.environ,
    database=None,
)
hypothesis.settings.load_profile("jinn")

MAPPINGS = Path("/proc/self/maps")
# XLA's older kernels compile in half of the time. Newer versions of XLA end at the unknown flag.
FASTER_COMPILATION = "--xla_cpu_use_fusion_emitters=false"
_tests_run = [0]


def pytest_configure(config: pytest.Config) -> None:
    set_hypothesis_home_dir(config.rootpath / ".pytest_cache" / "hypothesis")
    # Workers inherit what the first process has set. Slow tests compile as users do.
    if config.getoption("markexpr") not in ("", "slow") and "XLA_FLAGS" not in os.environ:
        environment = {**os.environ, "XLA_FLAGS": FASTER_COMPILATION}
        start = [sys.executable, "-c", "import jax; jax.devices()"]
        known = subprocess.run(start, env=environment, capture_output=True).returncode == 0
        os.environ["XLA_FLAGS"] = FASTER_COMPILATION if known else ""


@pytest.fixture(autouse=True)
def _type_hook(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets the tests of jinn's own errors through to them.

    The type hook wraps jinn's functions when they are imported and would raise first. It is off in
    tests marked `no_type_hook` and in files named `test_*errors*.py`.
    """
    marked = request.node.get_closest_marker("no_type_hook") is not None
    jaxtyping.config.update("jaxtyping_disable", marked or "errors" in request.path.stem)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _fast_compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Most of the time of a test goes into compiling; slow tests compile as users do."""
    slow = request.node.get_closest_marker("slow") is not None
    jax.config.update("jax_disable_most_optimizations", not slow)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def _few_programs() -> Iterator[None]:
    """Forgets compiled programs, which JAX keeps for ever, where a process holds very many.

    Each is several mappings of memory, of which Linux allows a process 65,530; with one more than
    that the process dies in the compiler.
    """
    yield
    _tests_run[0] += 1
    look = _tests_run[0] % 20 == 0 and MAPPINGS.exists()
    if look and MAPPINGS.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 is the default precision while the test runs."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where the tests run in the background of a shell."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)
