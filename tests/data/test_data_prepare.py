"""Preparing: every kind of file there is, what becomes of the bad ones, and packs that appear whole or not at all."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.data import prepare as preparing
from mezzotint.data.building import Progress
from mezzotint.data.crops import CROPS
from mezzotint.data.decode import Decoded, Decoder, Skipped, quiet
from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, ensure_pack, prepare
from mezzotint.data.sources import Item
from mezzotint.data.writing import PackWriter
from mezzotint.disk import home, locked
from mezzotint.errors import BadInput, RunFailed
from mezzotint.options import parse

RAMP = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (32, 1))


def options(**tree) -> DataOptions:
    return parse(DataOptions, tree)


def encode(picture: Image.Image, kind: str, **how) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def decode(content, name="x", crop="center", grey=False):
    return Decoder(32, CROPS[crop](), "lanczos", grey, num_classes=0)(Item(name, None, content))


def pixels_of(content, **how) -> np.ndarray:
    result = decode(content, **how)
    assert isinstance(result, Decoded), result
    return result.pixels


# --- Decoding ------------------------------------------------------------------------------------------------


def test_sixteen_bit_gray_is_scaled_not_clipped():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert deep.mode == "I;16"
    np.testing.assert_array_equal(pixels_of(encode(deep, "PNG"))[0], RAMP)
    np.testing.assert_array_equal(pixels_of(encode(deep, "TIFF"))[0], RAMP)


def test_float_levels_are_scaled_or_refused():
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(RAMP / np.float32(255)), "TIFF"))[0], RAMP)
    wild = decode(encode(Image.fromarray(RAMP.astype(np.float32) - 9), "TIFF"))
    assert isinstance(wild, Skipped)
    assert wild.reason == "unknown range"


def test_cmyk_becomes_rgb():
    pixels = pixels_of(encode(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG"))
    assert pixels.shape == (3, 32, 32)
    assert pixels[0].min() > 230
    assert pixels[1:].max() < 60


def test_transparency_is_composited_on_white():
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 16, 32))
    for content in (encode(half, "PNG"), encode(half.quantize(), "PNG")):
        pixels = pixels_of(content)
        np.testing.assert_array_equal(pixels[:, 5, 4], [255, 0, 0])
        np.testing.assert_array_equal(pixels[:, 5, 28], [255, 255, 255])


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(RAMP), "PNG", exif=exif))[0], RAMP[::-1, ::-1])


def test_gray_pixels_in_rgb_files_are_one_plane_and_grey_may_be_forced():
    assert pixels_of(encode(Image.fromarray(RAMP).convert("RGB"), "PNG")).shape == (1, 32, 32)
    assert pixels_of(encode(Image.new("RGB", (32, 32), "red"), "PNG"), grey=True)[0, 0, 0] == 76


def test_animation_gives_its_first_frame_and_a_note():
    frames = [Image.new("L", (32, 32), level) for level in (10, 200)]
    result = decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), name="a.gif")
    assert isinstance(result, Decoded)
    assert (result.pixels == 10).all()
    assert result.notes == ("first of several frames",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"once upon a time", "not an image"),
        (encode(Image.fromarray(RAMP), "JPEG")[:400], "corrupt"),
        (encode(Image.fromarray(RAMP), "PNG")[:60], "corrupt"),
        (encode(Image.new("L", (3, 90)), "PNG"), "tiny"),
        (encode(Image.new("L", (7, 7)), "PNG"), "tiny"),
        (encode(Image.new("1", (20000, 20000)), "PNG"), "too large"),
        (encode(Image.new("1", (12000, 12000)), "PNG"), "too large"),
    ],
)
def test_bad_contents_are_skipped_with_a_reason(content, reason):
    with quiet():
        result = decode(content)
    assert isinstance(result, Skipped)
    assert result.reason == reason
    assert "\n" not in result.detail


def test_no_bytes_make_a_decoder_raise():
    random = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        sound = np.frombuffer(encode(Image.fromarray(RAMP).convert("RGB"), kind), np.uint8)
        for _ in range(40):
            bent = sound.copy()
            bent[random.integers(len(bent), size=6)] = random.integers(256, size=6)
            with quiet():
                assert isinstance(decode(bent.tobytes()), Decoded | Skipped)


def test_files_that_are_no_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "pipe", tmp_path / "gone", tmp_path):
        result = decode(path)
        assert isinstance(result, Skipped)
        assert result.reason == "unreadable"


def test_crops():
    wide = Image.new("L", (64, 32), 9)
    wide.paste(200, (16, 0, 48, 32))
    assert (pixels_of(np.asarray(wide)) == 200).all()
    whole = pixels_of(np.asarray(wide), crop="none")[0]
    assert (whole[:8] == 9).all()
    assert (whole[10:22, 12:20] == 200).all()
    small = RAMP[:28, :28].copy()
    padded = pixels_of(small, crop="pad")[0]
    np.testing.assert_array_equal(padded[2:30, 2:30], small)
    assert len(set(padded[:2].ravel().tolist())) == 1


# --- Whole packs ----------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Two sound pictures, one with a wrong extension, and five kinds of bad file, in two classes."""
    folder = tmp_path / "mixed"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    files = {
        "a/sound.png": encode(Image.fromarray(RAMP), "PNG"),
        "a/zero.png": b"",
        "a/notes.txt": b"hello",
        "b/really.png": encode(Image.new("RGB", (40, 50), "blue"), "JPEG"),
        "b/small.png": encode(Image.fromarray(RAMP[:16, :16].copy()), "PNG"),
        "b/cut.jpg": encode(Image.fromarray(RAMP), "JPEG")[:400],
        "b/dot.png": encode(Image.new("L", (2, 2)), "PNG"),
        "stray.png": encode(Image.fromarray(RAMP), "PNG"),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_mixed_folder_is_counted_and_named(mixed):
    pack = ensure_pack(options(source="folder", path=str(mixed)))
    info = pack.info
    assert (len(pack), pack.channels, pack.image_size, pack.class_names) == (3, 3, 32, ("a", "b"))
    assert info.skipped == {"empty": 1, "not an image": 1, "corrupt": 1, "tiny": 1, "no class": 1}
    assert info.offered == 8
    assert {entry.name for entry in info.skipped_names} == {
        "a/zero.png", "a/notes.txt", "b/cut.jpg", "b/dot.png", "stray.png"
    }  # fmt: skip
    assert info.notes == {"named like another format": 1, "enlarged": 1}
    labels = pack.labels(np.arange(3))
    assert labels is not None
    assert labels.tolist() == [0, 1, 1]
    pixels = pack.pixels(np.arange(3))
    np.testing.assert_array_equal(pixels[0].numpy(), np.stack([RAMP] * 3))  # widened when the colour came
    expected = pixels.double().div(255).mean((0, 2, 3))
    np.testing.assert_allclose(info.mean, expected, rtol=1e-12)
    np.testing.assert_allclose(info.std, pixels.double().div(255).std((0, 2, 3), correction=0), rtol=1e-9)


def test_channels_forced(mixed):
    for channels in (1, 3):
        pack = ensure_pack(options(source="folder", path=str(mixed), channels=channels))
        assert pack.pixels(np.array([1])).shape == (1, channels, 32, 32)


def test_only_bad_files_is_bad_input_and_leaves_nothing(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no")
    with pytest.raises(BadInput, match=r"none of the pictures.*1 not an image.*x\.png is not an image"):
        list(prepare(options(source="folder", path=str(tmp_path / "bad")), tmp_path / "pack"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad"]


def test_digits_prepare_with_progress_and_equal_hashes(tmp_path):
    *records, pack = prepare(options(image_size=8), tmp_path / "one")
    assert isinstance(pack, Pack)
    assert records[-1] == Progress(1437, 1437, 0)
    seen: list[Progress] = []
    again = ensure_pack(options(image_size=8, held_out=0.1), seen.append)
    assert again.content_hash == pack.content_hash
    count = len(seen)
    assert ensure_pack(options(image_size=8), seen.append).path == again.path  # found, not made again
    assert len(seen) == count
    assert ensure_pack(options(image_size=8, split="test")).content_hash != pack.content_hash
    with pytest.raises(BadInput, match="exists already"):
        list(prepare(options(image_size=8), tmp_path / "one"))


def test_a_smaller_limit_is_a_subset(tmp_path):
    large, small = (ensure_pack(options(image_size=8, limit=n)) for n in (40, 10))
    known = {row.numpy().tobytes() for row in large.pixels(np.arange(40))}
    assert len(small) == 10
    assert all(row.numpy().tobytes() in known for row in small.pixels(np.arange(10)))


def test_given_pack_must_fit_the_options():
    made = ensure_pack(options(image_size=8))
    assert ensure_pack(options(image_size=8, pack=str(made.path))).content_hash == made.content_hash
    with pytest.raises(BadInput, match=r"image_size 8.*set data\.image_size=8"):
        ensure_pack(options(pack=str(made.path)))


@pytest.mark.parametrize(
    "tree", [{"image_size": 7}, {"channels": 2}, {"source": "parqet"}, {"crop": "centre"}, {"held_out": 0.6}]
)
def test_wrong_options(tree):
    with pytest.raises(BadInput, match=next(iter(tree))):
        options(**tree)


# --- Interruption ---------------------------------------------------------------------------------------------


def test_an_abandoned_preparation_leaves_nothing(tmp_path):
    records = prepare(options(image_size=8), tmp_path / "pack")
    next(records)
    assert (tmp_path / ".part-pack").is_dir()
    with pytest.raises(BadInput, match="another process is preparing it"):
        next(prepare(options(image_size=8), tmp_path / "pack"))
    records.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_a_killed_preparation_leaves_no_pack_and_does_not_block_the_next(tmp_path):
    script = (
        "from pathlib import Path; import sys, time\n"
        "from mezzotint.data.prepare import DataOptions, prepare\n"
        "for _ in prepare(DataOptions(image_size=8), Path(sys.argv[1])):\n"
        "    print('going', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, tmp_path / "pack"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"going\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not (tmp_path / "pack").exists()
    assert (tmp_path / ".part-pack").is_dir()
    *_, pack = prepare(options(image_size=8), tmp_path / "pack")
    assert isinstance(pack, Pack)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pack"]


def test_a_full_disk_fails_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PackWriter, "add", full)
    with pytest.raises(RunFailed, match=r"can't be written \(No space left"):
        list(prepare(options(image_size=8), tmp_path / "pack"))
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_waits_for_the_first():
    wanted = options(image_size=8, limit=20)
    script = (
        "from mezzotint.data.prepare import DataOptions, ensure_pack\n"
        "print('ready', flush=True); print(ensure_pack(DataOptions(image_size=8, limit=20)).content_hash)\n"
    )
    listing = wanted.source.open(None, "train")
    destination = home() / "packs" / preparing.pack_name(wanted, listing)
    with locked(preparing._lock(destination)):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(1.5)
        assert child.poll() is None
        assert not destination.exists()
    out, _ = child.communicate(timeout=30)
    assert out.strip() == ensure_pack(wanted).content_hash


# --- Real pictures --------------------------------------------------------------------------------------------


def test_cifar_and_mnist(shared_data):
    data = shared_data / "data"
    cifar = ensure_pack(options(source="parquet", path=str(data / "cifar10_jpeg_test.parquet"), limit=300))
    assert (len(cifar), cifar.channels, cifar.num_classes, cifar.info.skipped) == (300, 3, 10, {})
    assert all(0.3 < mean < 0.6 for mean in cifar.info.mean)
    mnist = ensure_pack(options(source="parquet", path=str(data / "mnist_test.parquet"), crop="pad", limit=300))
    assert (mnist.channels, mnist.image_size) == (1, 32)
    pixels = mnist.pixels(np.arange(300))
    assert not pixels[:, :, :2].any()
    assert pixels.amax() == 255
    labels = mnist.labels(np.arange(300))
    assert labels is not None
    assert torch.equal(labels.unique(), torch.arange(10))


def test_photographs_of_many_sizes(shared_data):
    path = shared_data / "data" / "cats_dogs_128.parquet"
    pack = ensure_pack(options(source="parquet", path=str(path), image_size=64, limit=40))
    assert (len(pack), pack.class_names, pack.info.notes) == (40, ("cat", "dog"), {})
