"""A codebook that follows what is encoded: nearest vectors, running means, restarts, all of it deterministic.

Its buffers change only in `follow`, from sums over all chunks and processes, so that one process and several end
with the same codebook.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mezzotint.seeds import AmbientNoise

_ROWS = 4096  # vectors compared with the codebook at once
_NOTHING = 1e-6  # running count below which a mean would be noise
_USED = 0.01  # of an even share of the codes, from which on one counts as used


class Codebook(nn.Module):
    """K vectors of D numbers, each the running mean of what it stood for (van den Oord et al. 2017, App. A.1)."""

    vectors: Tensor  # float32 [K, D]
    usage: Tensor  # float32 [K]: running counts N
    totals: Tensor  # float32 [K, D]: running sums m, vectors = m / N

    def __init__(self, codes: int, width: int, decay: float, restart_below: float) -> None:
        super().__init__()
        self.decay, self.restart_below = decay, restart_below
        self.register_buffer("vectors", torch.randn(codes, width))
        self.register_buffer("usage", torch.zeros(codes))
        self.register_buffer("totals", torch.zeros(codes, width))

    # --- Looking up ---

    @torch.no_grad()
    def nearest(self, encoded: Tensor) -> Tensor:
        """Encoded [M, D] -> int64 [M], which vector is nearest (eq. 1); the first of equals."""
        with _exactly(encoded.device):
            offset = self.vectors.square().sum(1)
            rows = [(offset - 2 * part.float() @ self.vectors.T).argmin(1) for part in encoded.split(_ROWS)]
        return torch.cat(rows)

    def statistics(self) -> dict[str, Tensor]:
        """Return perplexity, and the share of codes in use, over the updates that the running counts remember."""
        share = self.usage / self.usage.sum().clamp(min=_NOTHING)
        used = (self.usage > _USED * self.usage.mean()).float().mean()
        return {"perplexity": perplexity(share), "used_codes": used}

    # --- Learning ---

    @torch.no_grad()
    def sums(self, encoded: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """Encoded [M, D] and their codes [M] -> what `follow` needs, added up over chunks."""
        encoded = encoded.detach().float()
        counts, totals = torch.zeros_like(self.usage), torch.zeros_like(self.totals)
        counts.index_add_(0, indices, torch.ones_like(indices, dtype=counts.dtype))
        totals.index_add_(0, indices, encoded)
        error = (encoded - self.vectors[indices]).square().sum()
        return {"counts": counts, "totals": totals, "squares": encoded.square().sum(0), "error": error}

    @torch.no_grad()
    def follow(self, sums: Mapping[str, Tensor]) -> None:
        """N <- decay N + (1 - decay) n, m <- decay m + (1 - decay) sum z, vectors <- m / N; then restart dead codes."""
        if not self.usage.any():
            self._begin(sums)
            return
        self.usage.lerp_(sums["counts"], 1 - self.decay)
        self.totals.lerp_(sums["totals"], 1 - self.decay)
        known = (self.usage > _NOTHING)[:, None]
        self.vectors.copy_(torch.where(known, self.totals / self.usage.clamp(min=_NOTHING)[:, None], self.vectors))
        dead = self.usage < self.restart_below * self.usage.mean()
        if dead.any():
            self._restart(dead, (sums["error"] / sums["counts"].sum()).sqrt())

    def _begin(self, sums: Mapping[str, Tensor]) -> None:
        """Spread the vectors as what was first encoded is spread: its mean and deviation, number by number."""
        count = sums["counts"].sum()
        mean = sums["totals"].sum(0) / count
        deviation = (sums["squares"] / count - mean.square()).clamp(min=0).sqrt()
        self.vectors.mul_(deviation).add_(mean)
        self._set(torch.ones_like(self.usage, dtype=torch.bool), count / len(self.usage))

    def _restart(self, dead: Tensor, error: Tensor) -> None:
        """Put dead codes beside the most used ones, as far away as vectors are from what they stand for.

        Splitting a crowded code (Linde, Buzo & Gray 1980) needs no encoded vector of any one chunk. Each begins with
        an even share, so that it has the time of a new code to be found.
        """
        count, width = int(dead.sum()), self.vectors.shape[1]
        living = max(len(dead) - count, 1)
        crowded = self.usage.argsort(descending=True, stable=True)[: min(living, count)]
        parents = crowded[torch.arange(count, device=dead.device) % len(crowded)]
        away = AmbientNoise(dead.device).normal((count, width))
        self.vectors[dead] = self.vectors[parents] + away * (error / math.sqrt(width))
        self._set(dead, self.usage.mean())

    def _set(self, rows: Tensor, usage: Tensor) -> None:
        self.usage[rows] = usage
        self.totals[rows] = self.vectors[rows] * usage


def perplexity(share: Tensor) -> Tensor:
    """Shares [K] that sum to 1 -> e to their entropy: how many codes used evenly would be as uncertain."""
    return torch.special.entr(share).sum().exp()


def _exactly(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which products keep float32: rounded distances would choose other codes."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
