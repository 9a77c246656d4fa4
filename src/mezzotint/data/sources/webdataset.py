"""WebDataset shards: tar files in which a picture and its label share a name (`0001.jpg`, `0001.cls`)."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from mezzotint.data.sources import Item, Listing, Source, fingerprint, printable
from mezzotint.data.sources.archives import Members, members
from mezzotint.data.sources.shards import find_shards
from mezzotint.errors import BadInput

_WANTED = "a tar file, a folder of them, or a pattern such as 'shards/train-*.tar'"
_IMAGES = ("jpg", "jpeg", "png", "webp")
_LABELS = ("cls", "json")
_SHARDS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class _Sample:
    member: str
    label: int | str | None


class WebDataset(Source):
    """Samples of one or many tar files, in stored order; a label is a number or name in `.cls`, or in `.json`.

    A file or a pattern is read whole; in a folder the split is looked for in the names of the shards.
    """

    layout = _WANTED

    label: str = Field(default="label", description="key of the label in a sample's .json, where it has no .cls")
    labelled: bool = Field(default=True, description="whether labels are read; false reads all as unlabelled")

    def open(self, path: Path | None, split: str) -> Listing:
        """List the samples of all shards that hold a picture; classes are the labels that occur, sorted."""
        shards = [members(file, _WANTED) for file in find_shards(path, split, _SHARDS, _WANTED)]
        samples = [self._samples(shard) for shard in shards]
        starts = np.cumsum([0, *map(len, samples)])
        if not starts[-1]:
            raise BadInput(f"data.path: {path} holds no samples with {', '.join(_IMAGES)}, must be {_WANTED}")
        kinds = {sample.label for shard in samples for sample in shard} - {None}
        ordered = sorted(kinds, key=lambda kind: (isinstance(kind, str), kind))
        number = {kind: label for label, kind in enumerate(ordered)}

        def read(indices: np.ndarray) -> Iterator[Item]:
            for shard, rows, start, end in zip(shards, samples, starts[:-1], starts[1:], strict=True):
                chosen = [rows[row] for row in indices[(indices >= start) & (indices < end)] - start]
                if not chosen:
                    continue
                contents = shard.contents(sample.member for sample in chosen)
                for sample, content in zip(chosen, contents, strict=True):
                    yield Item(f"{shard.path.name}:{printable(sample.member)}", number.get(sample.label), content)

        identity = fingerprint(shard.path for shard in shards)
        provenance = {"path": printable(path), "files": str(len(shards)), "revision": identity}
        names, counts = tuple(str(kind) for kind in ordered), tuple(map(len, samples))
        return Listing(int(starts[-1]), names, identity, provenance, read, counts)

    def _samples(self, shard: Members) -> list[_Sample]:
        """Group members by their name up to the first dot of its last part; those without a picture are none."""
        groups: dict[str, dict[str, str]] = {}
        for member in shard.names:
            folder, slash, name = member.rpartition("/")
            stem, _, extension = name.partition(".")
            groups.setdefault(f"{folder}{slash}{stem}", {})[extension.lower()] = member
        pictured = [(_first(group, _IMAGES), _first(group, _LABELS)) for group in groups.values()]
        labels = self._labels(shard, {label for picture, label in pictured if picture and label})
        return [_Sample(picture, labels.get(label)) for picture, label in pictured if picture]

    def _labels(self, shard: Members, files: set[str]) -> dict[str | None, int | str | None]:
        """Read the label in each file, in one pass through the shard."""
        ordered = [member for member in shard.names if member in files] if self.labelled else []
        contents = zip(ordered, shard.contents(ordered), strict=True)
        return {member: self._label(shard, member, content) for member, content in contents}

    def _label(self, shard: Members, member: str, text: bytes | Path) -> int | str | None:
        content = text.read_bytes() if isinstance(text, Path) else text
        if not member.lower().endswith(".json"):
            word = content.decode("utf-8", "replace").strip()
            return int(word) if re.fullmatch(r"\d+", word) else word
        try:
            found = json.loads(content).get(self.label)
        except (ValueError, AttributeError) as error:
            raise BadInput(f"data.path: {member} in {shard.path} is no JSON object ({error})") from None
        if not isinstance(found, int | str | None):
            raise BadInput(f"data.source.label: {self.label!r} of {member} in {shard.path} must be a number or a name")
        return found


def _first(group: dict[str, str], extensions: tuple[str, ...]) -> str | None:
    return next((group[extension] for extension in extensions if extension in group), None)
