"""MNIST-1D: ten one-dimensional digits, distorted, as signals of 40 points.

Reference: Greydanus & Kobak (2024), Scaling Down Deep Learning with MNIST-1D, whose procedure and
settings these follow; the draws are our own.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

POINTS = 40
_DIGITS = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
_PADDING, _LENGTH, _SCALED, _SHIFTED, _SHEARED = (36, 60), 72, 0.4, 48, 0.75
_CORRELATED, _WHITE = 0.25, 0.02


def signals(count: int, seed: int = 0) -> tuple[Float[np.ndarray, "N 40"], Int[np.ndarray, " N"]]:
    """Draw so many signals, as many of each digit, and the digits they are of."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(count) % len(_DIGITS)).astype(np.int32)
    shapes = _DIGITS - _DIGITS.mean(axis=1, keepdims=True)
    shapes = shapes / shapes.std(axis=1, keepdims=True)
    shapes = shapes - shapes[:, :1]
    return np.stack([_signal(shapes[digit], random) for digit in y]).astype(np.float32), y


def _signal(shape: Float[np.ndarray, " K"], random: np.random.Generator) -> np.ndarray:
    """Pad, stretch, scale and shift a digit, shear it, and lay noise around and over it."""
    padded = np.append(shape + 1e-8, np.zeros(random.integers(*_PADDING, endpoint=True)))
    x = _resampled(padded, _LENGTH) * (1 + _SCALED * random.uniform(-0.5, 0.5))
    x = np.roll(x, random.integers(_SHIFTED))
    sheared = x - _SHEARED * random.uniform(-0.5, 0.5) * np.linspace(-0.5, 0.5, _LENGTH)
    around = ndimage.gaussian_filter(_CORRELATED * random.standard_normal(_LENGTH), 2)
    x = np.where(x != 0, sheared, around) + _WHITE * random.standard_normal(_LENGTH)
    return _resampled(x, POINTS)


def _resampled(x: np.ndarray, points: int) -> np.ndarray:
    return np.interp(np.linspace(0, 1, points), np.linspace(0, 1, len(x)), x)
