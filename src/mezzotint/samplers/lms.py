"""Linear multistep (Adams-Bashforth on any grid): one call a move, up to fourth order by remembering slopes."""

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, slope
from mezzotint.samplers.multistep import weights


class LMS(Sampler):
    """Adams-Bashforth for dx/dsigma = (x - D) / sigma (Karras et al. 2022, eq. 1), weights exact for the grid at hand.

    The first moves have fewer slopes to use, and the move to 0 is Euler's, which returns D.
    """

    slopes: int = Field(default=4, ge=1, le=4, description="slopes used at most, the present one included")

    @property
    def order(self) -> int:
        """As many as slopes; the first moves, with less to remember, are of lower order."""
        return self.slopes

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Integrate the polynomial in sigma through the slopes so far; remember (sigma, slope), newest first."""
        known = ((sigma, slope(denoise, x, sigma)), *(memory or ()))[: self.slopes]
        used = known if sigma_next > 0 else known[:1]
        nodes = [(at - sigma) / (sigma_next - sigma) for at, _ in used]
        for w, (_, d) in zip(weights(nodes, [1 / (k + 1) for k in range(len(used))]), used, strict=True):
            x = x + w * (sigma_next - sigma) * d
        return x, known
