"""Data sets in several files of one kind: a file, a pattern, or a folder with splits in the names of its files."""

import re
from glob import glob
from pathlib import Path

from mezzotint.data.sources import SPLIT_WORDS, existing
from mezzotint.errors import BadInput, nearest


def find_shards(path: Path | None, split: str, endings: tuple[str, ...], wanted: str) -> list[Path]:
    """Return files, sorted: a file itself, all that match a pattern, or those of a split below a folder.

    In a folder the split is looked for among the words of file and folder names; if none holds any such word, all
    files are meant. Raises `BadInput` where there are none.
    """
    if path is not None and not path.expanduser().exists() and re.search(r"[*?\[]", str(path)):
        files = sorted(Path(name).absolute() for name in glob(str(path.expanduser()), recursive=True))
        if not files:
            raise BadInput(f"data.path: no file matches {path}, must be {wanted}")
        return files
    path = existing(path, wanted)
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.name.endswith(endings))
    if not files:
        raise BadInput(f"data.path: {path} holds no *{endings[0]} files, must be {wanted}")
    return _of_split(path, files, split)


def _of_split(folder: Path, files: list[Path], split: str) -> list[Path]:
    words = {file: set(re.split(r"[\W_]+", str(file.relative_to(folder)).lower())) for file in files}
    known = sorted({word for found in words.values() for word in found if word in SPLIT_WORDS})
    if split == "all" or not known:
        return files
    if split not in known:
        raise BadInput(f"data.split: {folder} has no split {split!r}; {nearest(split, [*known, 'all'])}")
    return [file for file in files if split in words[file]]
