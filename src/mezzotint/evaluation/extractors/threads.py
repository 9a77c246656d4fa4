"""Images divided among threads, each of which works alone: none waits for another after every layer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def by_threads(work: Callable[[Tensor], Tensor], pixels: Tensor, at_once: int) -> Tensor:
    """Apply `work`, images [n, ...] -> [n, D], to all N pixels on the CPU: [N, D], at most `at_once` in one call.

    What is found depends on neither number. Threads that share every layer instead spend their time waiting wherever
    other programs run, too.
    """
    threads = torch.get_num_threads()
    rounds = max(1, -(-len(pixels) // (at_once * threads)))
    parts = pixels.tensor_split(max(1, min(len(pixels), rounds * threads)))
    if threads == 1:
        return torch.cat([work(part) for part in parts])

    def alone(part: Tensor) -> Tensor:
        with torch.inference_mode():  # is each thread's own
            return work(part)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.cat(list(pool.map(alone, parts)))
    finally:
        torch.set_num_threads(threads)  # this thread's own hasn't changed, but that of threads yet to come
