"""Euler's method with noise drawn anew after every move, as k-diffusion names DDIM with eta 1: one call a move."""

from pydantic import Field

from mezzotint.samplers.ddim import DDIM


class EulerAncestral(DDIM):
    """DDIM, eta 1 by default: Euler down to sqrt(s'^2 - fresh^2), then noise up to s' (Song et al. 2021, eq. 16)."""

    eta: float = Field(default=1.0, ge=0, le=1, description="share of DDPM's noise: 0 deterministic, 1 ancestral")
