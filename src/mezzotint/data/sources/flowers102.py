"""Flowers: 8,189 photographs of 102 kinds (Oxford 102 Flowers), with labels and splits in .mat files."""

from pathlib import Path

import numpy as np

from mezzotint.data.sources import Card, Listing, Original, Source, chosen_splits, existing, fingerprint
from mezzotint.data.sources.archives import Picture, listing, members, missing_note
from mezzotint.errors import BadInput

_CARD = Card(
    title="Oxford 102 Flowers",
    pictures={"train": 1020, "validation": 1020, "test": 6149},
    labels="102 kinds, numbered",
    licence="none stated; research use is customary",
    citation="Nilsback, Zisserman: Automated Flower Classification over a Large Number of Classes, ICVGIP 2008",
    size=344_878_000,
    layout="a folder with jpg/ or 102flowers.tgz, imagelabels.mat and setid.mat",
    originals=(
        Original(
            "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
            344_862_509,
            "52808999861908f626f3c1f4e79d11fa",
        ),
        Original(
            "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/imagelabels.mat", 502, "e0620be6f572b9609742df49c70aed4d"
        ),
        Original(
            "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/setid.mat", 14_989, "a5357ecc9cb78c4bef273ce3793fc85c"
        ),
    ),
)
_SPLITS = {"train": "trnid", "validation": "valid", "test": "tstid"}
_PICTURES = ("102flowers.tgz", "102flowers.tar.gz", "jpg")


class Flowers102(Source):
    """The original archive or its folder `jpg`, beside `imagelabels.mat` and `setid.mat`.

    The authors train on the 1,020 pictures of `train`; many since then exchange it with `test`.
    """

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's photographs; classes are called by their number, 1 to 102, as the archive names none."""
        folder = existing(path, _CARD.wanted)
        folder = folder if folder.is_dir() else folder.parent
        archive = next((folder / name for name in _PICTURES if (folder / name).exists()), None)
        if archive is None:
            raise BadInput(f"data.path: {folder} holds no jpg/ and no 102flowers.tgz, must be {_CARD.wanted}")
        labels = _numbers(folder / "imagelabels.mat", "labels")
        sets = [_numbers(folder / "setid.mat", _SPLITS[name]) for name in chosen_splits(split, _SPLITS)]
        found = members(archive, _CARD.wanted)
        root = "" if archive.is_dir() else found.beside("jpg/image_00001.jpg") + "jpg/"
        chosen = np.concatenate(sets).tolist()
        if wrong := [number for number in chosen if not 0 < number <= len(labels)]:
            raise BadInput(f"data.path: setid.mat names picture {wrong[0]}, imagelabels.mat has {len(labels)} labels")
        names = {number: f"{root}image_{number:05}.jpg" for number in chosen}
        pictures = [Picture(name, int(labels[n - 1]) - 1) for n, name in names.items() if found.has(name)]
        absent = [name for name in names.values() if not found.has(name)]
        notes = {"annotations without a picture": missing_note(absent)} if absent else {}
        identity = fingerprint([folder / "imagelabels.mat", folder / "setid.mat"])
        return listing(found, pictures, [str(kind) for kind in range(1, 103)], _CARD, notes, identity)


def _numbers(file: Path, name: str) -> np.ndarray:
    """Read a vector of whole numbers from a MATLAB file."""
    from scipy.io import loadmat  # noqa: PLC0415  (only this source needs it)

    existing(file, _CARD.wanted)
    try:
        values = np.ravel(loadmat(file, variable_names=[name])[name])
        return values.astype(np.int64)
    except Exception as error:  # a reader fed with arbitrary bytes raises arbitrary errors
        raise BadInput(f"data.path: {file} is no MATLAB file with a vector {name!r} ({error})") from None
