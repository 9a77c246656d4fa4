"""All that `data explore` finds out about a pack, and its summary in numbers."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from mezzotint.data.pack import Pack
from mezzotint.exploration.advice import Advice, Measured, advise, measured, overrides
from mezzotint.exploration.contents import Contents, contents
from mezzotint.exploration.duplicates import NearDuplicates, near_duplicates
from mezzotint.exploration.originals import Originals, originals, rows_of
from mezzotint.options import Tree
from mezzotint.seeds import mix, shuffled

SHOWN = 48
"""Pictures on a sheet."""


@dataclass(frozen=True)
class Dataset:
    """A pack, looked at; `originals` is None where what it was made from is no longer there."""

    pack: Pack
    contents: Contents
    originals: Originals | None
    duplicates: NearDuplicates
    measured: Measured
    advice: list[Advice]
    seed: int

    def rows(self) -> np.ndarray:
        """Choose the pictures of the sheets, int64 [n], in no order."""
        return shuffled(len(self.pack), mix("sheet", self.seed), 0, min(SHOWN, len(self.pack)))

    def originals_shown(self) -> tuple[np.ndarray, bool]:
        """Choose originals, int64 [n] of those read, and tell whether they are the same pictures as `rows`."""
        if self.originals is None:
            return np.zeros(0, np.int64), False
        matching = rows_of(self.originals, self.pack)
        if matching is not None:
            return matching[self.rows()], True
        count = len(self.originals.sizes)
        return shuffled(count, mix("sheet", self.seed), 0, min(SHOWN, count)), False


def look(pack: Pack, seed: int = 0) -> Iterator[str | Dataset]:
    """Yield what is being done and, last, what was found; `seed` chooses pictures where not all are taken."""
    yield f"counting {len(pack):,} pictures"
    counted = contents(pack)
    yield "reading the sizes of the originals"
    found = originals(pack, seed)
    yield "comparing all pairs of pictures"
    pairs = near_duplicates(pack, seed)
    yield "measuring at which noise they drown"
    known = measured(pack, found, counted, seed)
    yield Dataset(pack, counted, found, pairs, known, advise(known), seed)


def summary(dataset: Dataset) -> Tree:
    """Return the numbers of a data set as plain dicts and lists."""
    pack, pairs, known = dataset.pack, dataset.duplicates, dataset.measured
    return {
        "pictures": len(pack),
        "image_size": pack.image_size,
        "channels": pack.channels,
        "classes": dataset.contents.classes,
        "mean": list(pack.info.mean),
        "std": list(pack.info.std),
        "skipped": pack.info.skipped,
        "originals": None if dataset.originals is None else _sizes(dataset.originals),
        "near_duplicates": {
            "compared": pairs.compared,
            "pairs": pairs.count,
            "all_counted": pairs.whole,
            "nearest": [asdict(pair) for pair in pairs.pairs],
        },
        **measurements(known),
        "advice": [asdict(row) for row in dataset.advice],
        "overrides": overrides(dataset.advice),
    }


def measurements(known: Measured) -> Tree:
    """Return what the advice rests on as plain dicts and lists."""
    return {
        "spectrum": {
            "pictures": known.spectrum.pictures,
            "bands": [asdict(band) for band in known.spectrum.bands()],
            "drowning": list(known.spectrum.range()),
            "fine_share": known.spectrum.fine_share(),
        },
        "extent": asdict(known.extent) | {"variances": list(known.extent.variances[:16])},
        "mirror_told": known.mirror,
    }


def _sizes(found: Originals) -> Tree:
    quantiles = (0.0, 0.05, 0.5, 0.95, 1.0)
    width, height = (np.quantile(side, quantiles, method="nearest").tolist() for side in found.sizes.T)
    ratios = np.quantile(found.ratios, quantiles, method="nearest").tolist()
    return {
        "read": len(found.sizes),
        "of": found.listing.count,
        "quantiles": list(quantiles),
        "width": width,
        "height": height,
        "ratio": ratios,
    }
