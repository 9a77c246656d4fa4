"""Checkpoints: one folder each, complete or absent, checked before use, and never a pickle.

    checkpoints/2000/   weights.safetensors  ema.safetensors  optimizer.safetensors  state.json
    checkpoints/best    the number of the best one

A folder is written under a temporary name, synced and renamed, so a number is listed only once its checkpoint is
complete. `state.json` holds the SHA-256 of the other files and of itself. Only the process that holds the run's
lock saves, marks and prunes; any process may read meanwhile.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from mezzotint.disk import recover_all, whole_folder, write_text, writing
from mezzotint.errors import BadInput, nearest
from mezzotint.runs.records import Record, parse_record, read_bytes

_TENSORS = ("weights", "ema", "optimizer")
_WEIGHTS = {"ema": "ema", "raw": "weights"}
_PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin"})
_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")  # a pickle of protocol 2 or later; the zip archive of torch.save


@dataclass(frozen=True)
class Checkpoint:
    """All that training needs to go on: tensors by name, on the CPU once loaded, and a state that JSON can hold."""

    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: Record


# --- Writing ---------------------------------------------------------------------------------------------------


def _pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Safetensors bytes of tensors; each is copied, as the format has neither strides nor shared memory."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(own)


def _seal(document: Record) -> str:
    """SHA-256 of a document, the same before writing and after reading (floats print to the last bit)."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _write(folder: Path, checkpoint: Checkpoint, images_seen: int) -> None:
    files: Record = {}
    for name in _TENSORS:
        content = _pack(getattr(checkpoint, name))
        (folder / f"{name}.safetensors").write_bytes(content)
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    document = {"images_seen": images_seen, "files": files, "state": checkpoint.state}
    text = json.dumps({"sha256": _seal(document), **document}, indent=1)
    (folder / "state.json").write_bytes(text.encode())


def recover(folder: Path) -> None:
    """Undo what a killed process left half done: remove unfinished folders, put a displaced one back.

    `save` does so too; a run that resumes calls it, holding the lock, before it looks for its last checkpoint.
    """
    with writing(folder):
        recover_all(folder)


def save(folder: Path, checkpoint: Checkpoint, images_seen: int) -> Path:
    """Write `folder/<images_seen>`, whole or not at all, and return it; `RunFailed` where the disk refuses.

    State may hold numbers that aren't finite, which Python's JSON reads back. Checkpoints of other
    numbers stay as they are; one of the same number is replaced.
    """
    recover(folder)
    final = folder / str(images_seen)
    with writing(final), whole_folder(final) as temporary:
        _write(temporary, checkpoint, images_seen)
    return final


# --- Which there are -------------------------------------------------------------------------------------------


def available(folder: Path) -> list[int]:
    """Numbers (images seen) of the checkpoints in a folder, ascending; unfinished ones are not listed."""
    if not folder.is_dir():
        return []
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Remove all but the last `keep` checkpoints (at least 1) and the best."""
    for images_seen in available(folder)[:-keep]:
        if images_seen != best:
            # Renamed first, so that a half-removed one is never listed. Windows refuses while someone reads it:
            # the next call tries again.
            with suppress(OSError):
                removed = (folder / str(images_seen)).rename(folder / f".tmp-removed-{images_seen}")
                shutil.rmtree(removed)


def mark_best(folder: Path, images_seen: int) -> None:
    """Remember which checkpoint is the best one."""
    write_text(folder / "best", f"{images_seen}\n")


def best(folder: Path) -> int | None:
    """Return the number of the checkpoint marked best, or None if none is marked."""
    path = folder / "best"
    if not path.is_file():
        return None
    text = read_bytes(path).strip()
    if not text.isdigit():
        raise BadInput(f"{path}: must hold one of the checkpoints' numbers; remove it to forget which is best")
    return int(text)


def _listed(folder: Path) -> str:
    found = available(folder)
    return f"there are {', '.join(map(str, found))}" if found else "there are none yet"


def find(folder: Path, which: str) -> Path:
    """Return the checkpoint called `last`, `best` or by its number; `BadInput` lists those that exist."""
    found = available(folder)
    if which == "last":
        chosen = found[-1] if found else None
    elif which == "best":
        chosen = best(folder)
    elif which.isdecimal():
        chosen = int(which)
    else:
        raise BadInput(f"checkpoint {which!r}: must be last, best or a number of images seen; {_listed(folder)}")
    if chosen is None and found:
        raise BadInput(f"{folder}: no checkpoint is marked best; use last, or a number: {_listed(folder)}")
    if chosen not in found:
        raise BadInput(f"{folder}: no {'' if chosen is None else f'{chosen} '}checkpoint: {_listed(folder)}")
    return folder / str(chosen)


# --- Reading ---------------------------------------------------------------------------------------------------


def _advice(path: Path) -> str:
    """What to do about a damaged checkpoint: which one is next if it is removed."""
    others = [number for number in available(path.parent) if str(number) != path.name]
    earlier = [number for number in others if path.name.isdecimal() and number < int(path.name)]
    if not others:
        return f"remove {path} to begin anew (there is no other checkpoint)"
    return f"remove {path} to fall back to checkpoint {(earlier or others)[-1]}"


def _refuse_pickles(path: Path) -> None:
    if path.is_file():
        raise BadInput(f"{path}: a checkpoint is a folder, this is a file (pickles are never loaded)")
    if not path.is_dir():
        raise BadInput(f"{path}: no such checkpoint; {_listed(path.parent)}")
    for entry in sorted(path.iterdir()):
        if entry.suffix in _PICKLES:
            raise BadInput(f"{entry}: pickles are never loaded; {_advice(path)}")


def _read_document(path: Path) -> Record:
    """Contents of `state.json`, checked to be the ones written."""
    _refuse_pickles(path)
    file = path / "state.json"
    if not file.is_file():
        raise BadInput(f"{file}: missing; {_advice(path)}")
    try:
        document = parse_record(read_bytes(file), file)
    except BadInput as error:
        raise BadInput(f"{str(error).removesuffix('; repair or remove it')}; {_advice(path)}") from None
    if document.pop("sha256", None) != _seal(document):
        raise BadInput(f"{file}: damaged, or edited since it was written; {_advice(path)}")
    if path.name.isdecimal() and int(path.name) != document["images_seen"]:
        raise BadInput(f"{path}: holds checkpoint {document['images_seen']}; rename it to that")
    return document


def _damage(content: bytes, expected: Record) -> str | None:
    """Say how a file differs from the one written, or None."""
    if len(content) != expected["bytes"]:
        found = f"damaged ({len(content):,} bytes, {expected['bytes']:,} were written)"
    elif hashlib.sha256(content).hexdigest() != expected["sha256"]:
        found = "damaged (its SHA-256 is not the one written)"
    else:
        return None
    return "a pickle, which is never loaded" if content.startswith(_PICKLE_STARTS) else found


def _read_tensors(path: Path, name: str, document: Record) -> dict[str, Tensor]:
    file = path / f"{name}.safetensors"
    if not file.is_file():
        raise BadInput(f"{file}: missing; {_advice(path)}")
    content = read_bytes(file)
    damage = _damage(content, document["files"][name])
    if damage:
        raise BadInput(f"{file}: {damage}; {_advice(path)}")
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, KeyError) as error:
        raise BadInput(f"{file}: not a safetensors file ({error}); {_advice(path)}") from None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint bit for bit; `BadInput` names the file that is damaged or missing, and what to do."""
    document = _read_document(path)
    tensors = {name: _read_tensors(path, name, document) for name in _TENSORS}
    return Checkpoint(**tensors, state=document["state"])


def load_weights(path: Path, which: Literal["ema", "raw"] = "ema") -> dict[str, Tensor]:
    """Read only the weights that sampling needs: the averaged (`ema`) or the trained (`raw`) ones."""
    if which not in _WEIGHTS:
        raise BadInput(f"weights {which!r}: {nearest(which, _WEIGHTS)}")
    tensors = _read_tensors(path, _WEIGHTS[which], _read_document(path))
    if not tensors:
        raise BadInput(f"{path}: holds no {which} weights; use the {'raw' if which == 'ema' else 'ema'} ones")
    return tensors
