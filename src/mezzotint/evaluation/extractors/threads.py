"""Images divided among threads, each of which works alone: none waits for another after every layer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def by_threads(work: Callable[[Tensor], Tensor], pixels: Tensor, at_once: int) -> Tensor:
    """Apply `work`, images [n, ...] -> [n, D], to all N pixels on the CPU: [N, D], at most `at_once` in one call.

    What is found depends on neither number, nor on the caller's gradients and autocast, which threads of their own
    would not see: there are none. Threads that share every layer instead spend their time waiting wherever other
    programs run, too.
    """
    threads = torch.get_num_threads()
    rounds = max(1, -(-len(pixels) // (at_once * threads)))
    parts = pixels.tensor_split(max(1, min(len(pixels), rounds * threads)))

    def alone(part: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return work(part)

    if threads == 1:
        return torch.cat([alone(part) for part in parts])
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.cat(list(pool.map(alone, parts)))
    finally:
        torch.set_num_threads(threads)  # this thread's own hasn't changed, but that of threads yet to come
