"""The `dinov2` and `clip` extractors against timm and open-clip, with seeded random weights."""

import functools
import io
import json
import re
import sys
from dataclasses import replace
from typing import Any

import pyarrow.parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.functional import to_pil_image

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import all_published
from mezzotint.evaluation.extractors.clip import Clip
from mezzotint.evaluation.extractors.dinov2 import DINOv2
from mezzotint.evaluation.extractors.resizing import pillow_bicubic
from mezzotint.evaluation.weights import file_sha256
from mezzotint.pixels import from_pillow

CPU = torch.device("cpu")
TINY = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def pictures(shared_data):
    """Real pictures of one size: uint8 [4, 3, 90, 128], and as Pillow images."""
    rows = next(pyarrow.parquet.ParquetFile(shared_data / "data" / "cats_dogs_128.parquet").iter_batches(4)).to_pylist()
    images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB").crop((0, 0, 128, 90)) for row in rows]
    return torch.stack([from_pillow(image) for image in images]), images


def seeded(module):
    """Random weights that keep signals alive through every layer: timm's layer scale of 1e-5 would hide the blocks."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name or "ln_" in name or "gamma" in name or tensor.ndim == 1:
            tensor.copy_(noise * 0.1 + (0.0 if name.endswith("bias") else 1.0))
        else:
            tensor.copy_(noise * (1 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else noise)
    return module.eval()


def given(state, path):
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return {"weights": path, "sha256": file_sha256(path)}


# --- DINOv2 -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    import timm

    with torch.device("meta"):
        model = timm.create_model("vit_small_patch14_dinov2", img_size=224, num_classes=0)
    return seeded(model.to_empty(device="cpu"))


def timms(model, images):
    from timm.data.transforms_factory import create_transform

    transform: Any = create_transform(
        (3, 224, 224),
        interpolation="bicubic",
        crop_pct=1.0,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    with torch.inference_mode():
        return model(torch.stack([transform(image) for image in images]))


def test_dinov2_is_timms(small, pictures, tmp_path):
    pixels, images = pictures
    pixels, squares = pixels[..., :90], [image.crop((0, 0, 90, 90)) for image in images]
    expected = timms(small, squares)
    found = DINOv2(model="small", **given(small.state_dict(), tmp_path / "w.safetensors")).load(None, CPU)
    features = found.features(pixels)
    assert features.probabilities is None
    assert features.features.shape == (4, 384) == (4, found.dimension)
    assert expected.std(0).min() > 0.01
    torch.testing.assert_close(features.features, expected, rtol=1e-4, atol=1e-4)


def test_dinov2_stretches_the_published_table_of_positions_as_its_authors_do(small, pictures, tmp_path):
    table = torch.randn(1, 1 + 37 * 37, 384, generator=torch.Generator().manual_seed(1))
    state = small.state_dict() | {"pos_embed": table, "mask_token": torch.zeros(1, 384)}
    path = tmp_path / "published.pth"
    torch.save(state, path)
    square = table[:, 1:].reshape(37, 37, 384).permute(2, 0, 1)[None]
    ours = nn.functional.interpolate(square, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic")
    positions = torch.cat([table[:, :1], ours.flatten(2).transpose(1, 2)], 1)
    found = DINOv2(model="small", weights=path, sha256=file_sha256(path)).load(None, CPU)
    expected = DINOv2(
        model="small", **given(small.state_dict() | {"pos_embed": positions}, tmp_path / "w.safetensors")
    ).load(None, CPU)
    pixels = pictures[0][:2]
    torch.testing.assert_close(found.features(pixels).features, expected.features(pixels).features)


def test_dinov2_refuses_other_sizes_and_files(small, tmp_path):
    options = given(small.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match="not the weights of a DINOv2 base transformer"):
        DINOv2(model="base", **options).load(None, CPU)
    with pytest.raises(BadInput, match=rf"wrong weights file, SHA-256 {options['sha256']}, expected b938bf1b"):
        DINOv2(model="small", weights=options["weights"]).load(None, CPU)
    with pytest.raises(BadInput, match="not the weights of a DINOv2"):
        DINOv2(model="small", **given({"a": torch.zeros(2)}, tmp_path / "other.safetensors")).load(None, CPU)


# --- CLIP -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    import open_clip

    path = tmp_path_factory.mktemp("open_clip") / "mezzotint-tiny.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)
    model, _, preprocess = open_clip.create_model_and_transforms("mezzotint-tiny")
    return seeded(model), preprocess


def test_clip_is_open_clips(tiny, pictures, tmp_path):
    model, preprocess = tiny
    pixels, images = pictures
    with torch.inference_mode():
        expected = model.encode_image(torch.stack([preprocess(image) for image in images]), normalize=True)
    found = Clip(model="mezzotint-tiny", **given(model.state_dict(), tmp_path / "w.safetensors")).load(None, CPU)
    features = found.features(pixels).features
    assert features.shape == (4, 24) == (4, found.dimension)
    assert expected.std(0).min() > 1e-3
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_clip_takes_other_weights_colours(tiny, pictures, tmp_path):
    model, preprocess = tiny
    pixels, images = pictures
    options = given(model.state_dict(), tmp_path / "w.safetensors")
    plain = Clip(model="mezzotint-tiny", **options).load(None, CPU)
    half = Clip(model="mezzotint-tiny", normalisation="half", **options).load(None, CPU)
    *resized, normalise = preprocess.transforms
    normalise = type(normalise)(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    squares = [functools.reduce(lambda image, change: change(image), resized, image) for image in images]
    with torch.inference_mode():
        expected = model.encode_image(torch.stack([normalise(square) for square in squares]), normalize=True)
    found = half.features(pixels).features
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - plain.features(pixels).features).abs().max() > 1e-3
    assert half.hash != plain.hash


def nested(state):
    """A module with these names, as TorchScript keeps them."""
    root = nn.Module()
    for name, tensor in state.items():
        place = root
        *folders, leaf = name.split(".")
        for folder in folders:
            if folder not in dict(place.named_children()):
                place.add_module(folder, nn.Module())
            place = place.get_submodule(folder)
        place.register_buffer(leaf, tensor)
    return root


@pytest.mark.filterwarnings(
    "ignore::FutureWarning"
)  # making such a file is deprecated, reading OpenAI's isn't avoidable
def test_clip_reads_openais_torchscript_in_half_precision(tiny, pictures, tmp_path):
    model, _ = tiny
    half = {name: tensor.half() for name, tensor in model.state_dict().items()}
    path = tmp_path / "ViT.pt"
    torch.jit.script(nested(half | {"input_resolution": torch.tensor(64)})).save(path)
    archive = Clip(model="mezzotint-tiny", weights=path, sha256=file_sha256(path)).load(None, CPU)
    plain = Clip(model="mezzotint-tiny", **given(half, tmp_path / "w.safetensors")).load(None, CPU)
    assert archive.hash == plain.hash
    torch.testing.assert_close(archive.features(pictures[0]).features, plain.features(pictures[0]).features)


def test_clip_says_what_it_needs(tiny, tmp_path):
    options = given(tiny[0].state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match=re.escape("no hash is published; if you trust") + f".*{options['sha256']}"):
        Clip(model="mezzotint-tiny", weights=options["weights"]).load(None, CPU)
    with pytest.raises(BadInput, match="no address is published"):
        Clip(model="mezzotint-tiny").load(None, CPU)
    with pytest.raises(BadInput, match=r"no model 'ViT-L-14-33': did you mean ViT-L-14-336"):
        Clip(model="ViT-L-14-33").load(None, CPU)
    with pytest.raises(BadInput, match="not the weights of open-clip's ViT-B-32-quickgelu"):
        Clip(model="ViT-B-32-quickgelu", **options).load(None, CPU)


# --- Both -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("package", "options"), [("timm", DINOv2()), ("open_clip", Clip())])
def test_a_missing_package_is_named_with_its_extra(package, options, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / "w.pth"
    torch.save({"pos_embed": torch.zeros(1, 257, 8)}, path)
    with pytest.raises(BadInput, match=r"pip install 'mezzotint\[extractors\]'"):
        options.but(weights=path, sha256=file_sha256(path)).load(None, CPU)


def test_the_resize_is_pillows(pictures):
    pixels, _ = pictures
    found = pillow_bicubic(pixels, 40, 70)
    expected = to_pil_image(pixels[3]).resize((70, 40), Image.Resampling.BICUBIC)
    assert to_pil_image(found[3]).tobytes() == expected.tobytes()


def test_the_hash_tells_the_resize_rule(tiny, tmp_path):
    extractor = Clip(model="mezzotint-tiny", **given(tiny[0].state_dict(), tmp_path / "w.safetensors")).load(None, CPU)
    assert replace(extractor, rule="nearest").hash != extractor.hash


def test_every_published_file_has_a_whole_hash_or_its_name_in_it():
    files = [file for files in all_published().values() for file in files]
    assert {"inception", "squeezenet", "dinov2-large", "clip-ViT-L-14-336-quickgelu"} <= set(all_published())
    for file in files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256) or file.sha256 in file.file
        assert file.url is None or file.url.endswith(file.file)
