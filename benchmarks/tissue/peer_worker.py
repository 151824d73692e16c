"""MCML's three layers in another library: `python peer_worker.py LIBRARY PHOTONS [PHOTONS ...]`.

Runs by itself, in any interpreter, and imports nothing of this project. Prints one line of JSON:
seconds, and the share of the light that is absorbed (MCML: 0.6416), for the last number of photons;
the runs before it warm up.
"""

import contextlib
import io
import json
import os
import sys
import time
from importlib.metadata import version

MU_A, MU_S, G, N = (0.1, 0.1, 0.2), (10.0, 1.0, 1.0), (0.9, 0.0, 0.7), 1.37  # 1/mm
THICKNESS, WIDTH = (1, 1, 2), 20  # mm


def run_pmcxcl(photons):
    """Voxels of 0.1 mm; OpenCL on the first device."""
    import numpy as np
    import pmcxcl  # pyright: ignore[reportMissingImports]

    scale, side = 10, 10 * WIDTH
    layers = np.repeat([1, 2, 3], [scale * t for t in THICKNESS]).astype(np.uint8)
    volume = np.broadcast_to(layers, (side, side, len(layers))).copy()
    media = [[0, 0, 1, 1], *([a, s, g, N] for a, s, g in zip(MU_A, MU_S, G, strict=True))]
    result = pmcxcl.run(
        nphoton=photons,
        vol=volume,
        prop=np.array(media),
        srcpos=[side / 2, side / 2, 0],
        srcdir=[0, 0, 1],
        tstart=0.0,
        tend=5e-9,
        tstep=5e-9,
        unitinmm=1 / scale,
        isreflect=1,
        issavedet=0,
        autopilot=1,
        gpuid=1,
        seed=1,
    )
    stat = result["stat"]
    return float(stat["energyabs"]) / float(stat["energytot"]), float(stat["runtime"]) / 1e3


def run_pytissueoptics(photons):
    """Cuboids, without OpenCL."""
    from pytissueoptics import (  # pyright: ignore[reportMissingImports]
        Cuboid,
        EnergyLogger,
        PencilPointSource,
        ScatteringMaterial,
        ScatteringScene,
        Vector,
    )
    from pytissueoptics.scene.logger import (  # pyright: ignore[reportMissingImports]
        InteractionKey,
    )

    layers = [
        Cuboid(WIDTH, WIDTH, t, material=ScatteringMaterial(s, a, g, N), label=f"layer{i}")
        for i, (t, a, s, g) in enumerate(zip(THICKNESS, MU_A, MU_S, G, strict=True))
    ]
    stack = layers[2].stack(layers[1], "front").stack(layers[0], "front")
    stack.translateTo(Vector(0, 0, sum(THICKNESS) / 2))
    tissue = ScatteringScene([stack])
    source = PencilPointSource(
        position=Vector(0, 0, -0.01),
        direction=Vector(0, 0, 1),
        N=photons,
        useHardwareAcceleration=False,
        seed=1,
    )
    logger = EnergyLogger(tissue, keep3D=True)
    start = time.perf_counter()
    source.propagate(tissue, logger=logger, showProgress=False)
    seconds = time.perf_counter() - start
    deposits = (logger.getDataPoints(InteractionKey(f"layer{i}")) for i in range(3))
    absorbed = sum(float(points[:, 0].sum()) for points in deposits if points is not None)
    return absorbed / photons, seconds


RUNS = {"pmcxcl": run_pmcxcl, "pytissueoptics": run_pytissueoptics}


def main():
    """Runs the library and prints what it took."""
    library, *photons = sys.argv[1:]
    absorbed, seconds, cpu = 0.0, 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        for count in map(int, photons):
            before = sum(os.times()[:2])
            absorbed, seconds = RUNS[library](count)
            cpu = sum(os.times()[:2]) - before
    print(
        json.dumps(
            {
                "photons": int(photons[-1]),
                "seconds": seconds,
                "cpu_seconds": cpu,
                "absorbed": absorbed,
                "version": version(library),
            }
        )
    )


if __name__ == "__main__":
    main()
