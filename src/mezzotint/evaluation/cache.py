"""Tensors remembered on disk: named by hash, written whole or not at all, recomputed when damaged."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mezzotint.disk import write_bytes


def tensors_hash(tensors: Mapping[str, Tensor], *words: str) -> str:
    """Hash names, types, shapes and values of tensors, and further words, to 32 hexadecimal digits."""
    digest = blake2b(json.dumps(words).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def store(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and their hash as one safetensors file."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(whole, metadata={"hash": tensors_hash(whole)}))


def recall(path: Path) -> dict[str, Tensor] | None:
    """Read tensors back; None if there are none or they aren't what was written."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            recorded = (file.metadata() or {}).get("hash")
    except (OSError, SafetensorError):
        return None
    return tensors if tensors_hash(tensors) == recorded else None
