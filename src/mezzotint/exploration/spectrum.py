"""At which noise level each frequency of a data set's pictures drowns: their power spectrum, measured."""

from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt

import numpy as np
import torch
from torch import Tensor

from mezzotint.data.pack import Pack
from mezzotint.exploration.contents import chunks
from mezzotint.pixels import to_images

_MOST_BYTES = 2**28
_BANDS_PER_OCTAVE = 2
_ROUNDING = (2 / 255) ** 2 / 12  # variance of what rounding to grey levels did: nothing is finer
_LOGISTIC_VARIANCE = np.pi**2 / 12
"""Variance, in ln sigma, of where one coefficient drowns: S / (S + sigma^2) is a logistic of scale 1/2 around it."""


@dataclass(frozen=True)
class Band:
    """Frequencies in cycles per picture, the sigma they drown at (their own deviation), their share of all power."""

    low: float
    high: float
    sigma: float
    share: float


@dataclass(frozen=True)
class Spectrum:
    """Variance of every Fourier coefficient, colours turned onto their principal axes."""

    pictures: int
    power: Tensor  # float64 [C, H, W], the strongest colour axis first

    @property
    def size(self) -> int:
        """Height and width of the pictures."""
        return self.power.shape[-1]

    def drowning(self) -> Tensor:
        """Ln of the sigma at which each coefficient of the strongest colour axis drowns: SNR 1; float64 [H W].

        The weaker axes are left out: what JPEG and cameras keep of fine colour is next to nothing.
        """
        return self.power[0].flatten().clamp_min(_ROUNDING).log() / 2

    def log_normal(self) -> tuple[float, float]:
        """Return mean and deviation of ln sigma at which coefficients drown: P_mean and P_std where D has work to do.

        The deviation holds the spread between coefficients and the width of each one's own passage.
        """
        levels = self.drowning()
        return float(levels.mean()), sqrt(float(levels.var(correction=0)) + _LOGISTIC_VARIANCE)

    def surviving(self, sigma: Tensor) -> Tensor:
        """Mean over coefficients of S / (S + sigma^2), what an ideal linear denoiser keeps; same shape as sigma."""
        s = self.power[0].flatten()
        return torch.stack([(s / (s + level**2)).mean() for level in sigma.flatten().double()]).reshape(sigma.shape)

    def range(self, share: float = 0.05) -> tuple[float, float]:
        """Return the two sigmas between which all but `share` of the coefficients drown at either side."""
        grid = torch.logspace(-4, 4, 801, dtype=torch.float64)
        kept = self.surviving(grid)  # decreasing
        low, high = (int((kept > limit).sum()) for limit in (1 - share, share))
        return float(grid[max(low - 1, 0)]), float(grid[min(high, len(grid) - 1)])

    def fine_share(self) -> float:
        """Share of all power that pictures of half the size can't hold: a frequency above half of the highest."""
        frequencies = _frequencies(self.size).abs()
        fine = torch.maximum(frequencies[:, None], frequencies[None]) >= self.size / 4
        return float(self.power[:, fine].sum() / self.power.sum())

    def bands(self) -> list[Band]:
        """Average over rings of frequencies, two to the octave, from one cycle per picture up to the highest."""
        frequencies = _frequencies(self.size)
        radius = (frequencies[:, None] ** 2 + frequencies[None] ** 2).sqrt()
        edges = [0.0, 0.5]
        while edges[-1] < self.size / 2:
            edges.append(max(edges[-1] * 2 ** (1 / _BANDS_PER_OCTAVE), edges[-1] + 1))
        return [band for low, high in pairwise(edges) if (band := self._band(radius, low, high))]

    def _band(self, radius: Tensor, low: float, high: float) -> Band | None:
        inside = (radius >= low) & (radius < high)
        if not inside.any():
            return None
        share = float(self.power[:, inside].sum() / self.power.sum())
        return Band(low, high, sqrt(float(self.power[0][inside].mean())), share)


def _frequencies(size: int) -> Tensor:
    """Cycles per picture of each Fourier coefficient, float64 [size]."""
    return torch.fft.fftfreq(size, dtype=torch.float64) * size


def most_pictures(pack: Pack, most: int = 4096) -> int:
    """Return how many pictures a spectrum is made of: enough for a steady mean, within a quarter of a GiB."""
    return min(len(pack), most, max(64, _MOST_BYTES // (pack.channels * pack.image_size**2)))


def spectrum(pack: Pack, rows: np.ndarray, mean_image: np.ndarray) -> Spectrum:
    """Measure the power of some pictures' deviations from `mean_image` [C, H, W] in grey levels."""
    mean = torch.from_numpy(mean_image / 127.5 - 1).float()
    axes = _colour_axes(pack, rows, mean)
    power = torch.zeros(pack.channels, pack.image_size, pack.image_size, dtype=torch.float64)
    for _, pixels in chunks(pack, rows):
        turned = torch.einsum("nchw,cd->ndhw", to_images(pixels) - mean, axes)
        power += torch.fft.fft2(turned, norm="ortho").abs().square().double().sum(0)
    return Spectrum(len(rows), power / len(rows))


def _colour_axes(pack: Pack, rows: np.ndarray, mean: Tensor) -> Tensor:
    """Principal axes of the channels, float32 [C, C], one a column, the strongest first."""
    covariance = torch.zeros(pack.channels, pack.channels, dtype=torch.float64)
    for _, pixels in chunks(pack, rows):
        deviations = to_images(pixels) - mean
        covariance += torch.einsum("nchw,ndhw->cd", deviations, deviations).double()
    return torch.linalg.eigh(covariance)[1].flip(1).float()


def resolution_shift(size: int, reference: int = 64) -> float:
    """Shift of log-SNR that gives pictures of `size` the noise of `reference` pixels (Hoogeboom et al. 2023, sec. 3.1).

    Averaging neighbours takes noise away and leaves what is coarse: 2 ln(reference / size).
    """
    return 2 * log(reference / size)
