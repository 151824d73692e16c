"""How samples of colours are judged: best-of-n, variance and energy score, in sRGB of [0, 1]."""

import numpy as np
from jaxtyping import Float

Truth = Float[np.ndarray, "pictures height width 3"]
Samples = Float[np.ndarray, "samples pictures height width 3"]


def best_of(samples: Samples, truth: Truth) -> float:
    """Root of the mean over pixels of the least squared error among a pixel's samples.

    A pixel's squared error is the mean over its three channels. Each pixel takes the best of the
    samples for itself, so that noise that has nothing to do with the picture makes it smaller.
    """
    errors = np.mean(np.square(samples - truth), axis=-1)
    return float(np.sqrt(np.mean(np.min(errors, axis=0), dtype=np.float64)))


def variance(samples: Samples) -> float:
    """Mean over pixels and channels of the variance among the samples, by 1 / (n - 1)."""
    return float(np.mean(np.var(samples, axis=0, ddof=1), dtype=np.float64))


def energy_score(samples: Samples, truth: Truth) -> float:
    """Mean over pictures of ``E |X - x| - E |X - X'| / 2``, least for samples of the true density.

    Distances are those of whole pictures, divided by the root of their number of values; X and X'
    are different samples. Of one sample, it is the distance from the truth.

    Reference:
        Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting, Raftery, 2007),
        https://doi.org/10.1198/016214506000001437
    """
    n = len(samples)
    flat = samples.reshape(*samples.shape[:2], -1).astype(np.float64)
    x = truth.reshape(len(truth), -1)

    def distance(difference: np.ndarray) -> np.ndarray:
        return np.sqrt(np.mean(np.square(difference), axis=-1))

    score = np.mean(distance(flat - x), axis=0)
    if n > 1:
        pairs = [distance(flat[i] - flat[j]) for i in range(n) for j in range(i)]
        score = score - 0.5 * np.mean(pairs, axis=0)
    return float(np.mean(score))


def judge(samples: Samples, truth: Truth) -> dict[str, float]:
    """All figures of n samples, or of one prediction given as one sample."""
    return {
        "best_of_1": best_of(samples[:1], truth),
        "best_of_n": best_of(samples, truth),
        "energy_score": energy_score(samples, truth),
        "variance": variance(samples) if len(samples) > 1 else 0.0,
    }
