"""What several processes that train together tell each other on the host; one tells itself."""

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def any_process(flag: bool) -> bool:
    """Whether it holds in any process. All must call it.

    Args:
        flag: Whether it holds in this one.

    Returns:
        The same in every process.
    """
    return any(of_all_processes(flag))


def of_all_processes(value: Any) -> list[Any]:
    """What every process has. All must call it.

    Args:
        value: JSON of this one.

    Returns:
        JSON by the number of the process, the same in every one.
    """
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(text.size))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: text.size] = text
    texts = multihost_utils.process_allgather(padded)
    return [json.loads(bytes(row[:size])) for row, size in zip(texts, sizes, strict=True)]
