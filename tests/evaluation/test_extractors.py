import io
import pickle
import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchvision.models import squeezenet1_1

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import EXTRACTORS, Extractor, ExtractorOptions, Features
from mezzotint.evaluation.extractors.classifier import Classifier
from mezzotint.evaluation.extractors.fused import FusedConv
from mezzotint.evaluation.extractors.inception import Inception
from mezzotint.evaluation.extractors.resizing import tensorflow_bilinear
from mezzotint.evaluation.extractors.squeezenet import SqueezeNet
from mezzotint.evaluation.extractors.thumbnail import Thumbnail
from mezzotint.evaluation.metrics.frechet import Frechet, frechet_distance
from mezzotint.evaluation.statistics import FeatureSet, Moments
from mezzotint.evaluation.weights import file_sha256

CPU = torch.device("cpu")


def read_parquet(path, count):
    rows = next(pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=count)).to_pylist()
    pictures = [np.array(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]
    pixels = torch.stack([torch.from_numpy(np.atleast_3d(picture)).permute(2, 0, 1) for picture in pictures])
    return pixels, torch.tensor([row["label"] for row in rows])


def noisy(pixels, deviation):
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)) * deviation
    return (pixels + noise).round().clamp(0, 255).to(torch.uint8)


def blurred(pixels):
    return torch.nn.functional.avg_pool2d(pixels.float(), 5, 1, 2).round().to(torch.uint8)


def distance(first, second):
    return frechet_distance(Moments.of(first), Moments.of(second))[0]


def test_every_extractor_has_options_and_a_line_in_the_list():
    assert set(EXTRACTORS) >= {"classifier", "clip", "dinov2", "inception", "squeezenet", "thumbnail"}
    for name, line in EXTRACTORS.summaries().items():
        assert issubclass(EXTRACTORS[name], ExtractorOptions)
        assert line


# --- SqueezeNet -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeezenet(shared_data):
    return SqueezeNet(weights=shared_data / "weights" / "squeezenet1_1-features.safetensors").load(None, CPU)


def test_squeezenet_is_torchvisions(squeezenet, shared_data):
    peer = squeezenet1_1()
    weights = load_file(shared_data / "weights" / "squeezenet1_1-features.safetensors")
    assert not peer.load_state_dict(weights, strict=False).unexpected_keys
    pixels = torch.randint(0, 256, (3, 3, 96, 80), dtype=torch.uint8)
    images = (pixels / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    with torch.inference_mode():
        expected = peer.features(images).mean((2, 3))
    found = squeezenet.features(pixels)
    assert found.probabilities is None
    torch.testing.assert_close(found.features, expected, rtol=1e-4, atol=1e-4)


def test_squeezenet_tells_real_from_damaged(squeezenet, shared_data):
    pixels, _ = read_parquet(shared_data / "data" / "cifar10_jpeg_test.parquet", 600)
    real, others = squeezenet.features(pixels[:300]).features, squeezenet.features(pixels[300:]).features
    floor = distance(real, others)
    assert distance(squeezenet.features(noisy(pixels[:300], 25)).features, others) > 3 * floor
    assert distance(squeezenet.features(blurred(pixels[:300])).features, others) > 3 * floor


def test_squeezenet_takes_any_size_and_batch(squeezenet):
    for size in ((8, 8), (28, 28), (40, 100)):
        pixels = torch.randint(0, 256, (130, 3, *size), dtype=torch.uint8)
        found = squeezenet.features(pixels).features
        assert found.shape == (130, 512)
        assert found.dtype == torch.float32
        torch.testing.assert_close(squeezenet.features(pixels[5:6]).features, found[5:6], rtol=1e-4, atol=1e-4)


def test_squeezenet_weights_are_searched_by_name(squeezenet, shared_data, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_WEIGHTS", str(shared_data / "weights"))
    assert SqueezeNet().load(None, CPU).hash == squeezenet.hash


def test_squeezenet_refuses_other_networks(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"features.0.weight": torch.zeros(3)}, path)
    with pytest.raises(BadInput, match=f"wrong weights file, SHA-256 {file_sha256(path)}"):
        SqueezeNet(weights=path).load(None, CPU)
    with pytest.raises(BadInput, match="not the weights of torchvision's squeezenet1_1"):
        SqueezeNet(weights=path, sha256=file_sha256(path)).load(None, CPU)
    with pytest.raises(BadInput, match="no file"):
        SqueezeNet(weights=tmp_path / "absent.pth").load(None, CPU)


# --- Thumbnail --------------------------------------------------------------------------------------------------


def test_a_thumbnail_is_the_mean_and_the_deviation_of_squares():
    means = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    flat = means.repeat_interleave(4, 2).repeat_interleave(4, 3)
    found = Thumbnail().load(None, CPU).features(flat).features.unflatten(1, (2, 3, 8, 8))
    torch.testing.assert_close(found[:, 0], means / 255)
    torch.testing.assert_close(found[:, 1], torch.zeros(2, 3, 8, 8), atol=1e-3, rtol=0)
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(16).expand(1, 3, 32, 32)
    found = Thumbnail().load(None, CPU).features(stripes).features
    torch.testing.assert_close(found, torch.full((1, 384), 0.5))


@pytest.mark.parametrize("size", [8, 14, 28, 100])
def test_a_thumbnail_takes_any_size(size):
    found = Thumbnail().load(None, CPU).features(torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8))
    assert found.features.shape == (3, 384)
    assert found.probabilities is None


def test_thumbnails_tell_real_from_damaged_and_collapsed(shared_data):
    pixels, _ = read_parquet(shared_data / "data" / "cifar10_jpeg_test.parquet", 600)
    thumbnail = Thumbnail().load(None, CPU)
    real, others = thumbnail.features(pixels[:300]).features, thumbnail.features(pixels[300:]).features
    floor = distance(real, others)
    assert distance(thumbnail.features(blurred(pixels[:300])).features, others) > 1.3 * floor
    assert distance(thumbnail.features(pixels[:4].repeat(75, 1, 1, 1)).features, others) > 3 * floor


# --- Inception --------------------------------------------------------------------------------------------------


def test_features_are_of_float32_proper_and_leave_the_callers_choice():
    seen = []

    class Looks(torch.nn.Module):
        def forward(self, pixels):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of these names from 2.9 on
                seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
            return Features(pixels.float().mean((2, 3)), None)

    extractor = Extractor("squeezenet", 3, Looks(), "looks", torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        try:
            torch.set_float32_matmul_precision("medium")
            torch.backends.cudnn.allow_tf32 = True
            extractor.features(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
            after = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        finally:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]
    assert seen == [("highest", False)]
    assert after == ("medium", True)


def test_features_do_not_know_the_callers_autocast():
    class Product(torch.nn.Module):
        def forward(self, pixels):
            flat = pixels.float().flatten(1)
            return Features(flat @ flat.T, None)

    extractor = Extractor("squeezenet", 2, Product(), "products", torch.device("cpu"))
    pixels = torch.full((2, 3, 4, 4), 201, dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(extractor.features(pixels).features, torch.full((2, 2), 48 * 201.0**2))


def test_weights_of_ones_own_are_not_the_published_ones():
    digest = Inception.published["inception"][0].sha256
    assert all(Inception(sha256=known).as_published for known in (None, digest, digest[:8]))
    assert not Inception(sha256="0" * 64).as_published
    assert not Classifier().as_published


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """Seeded random weights in torch-fidelity's format, scaled so that features keep their size through the layers."""
    generator = torch.Generator().manual_seed(0)
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):  # its constructor insists on loading
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        peer = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=empty)
    state = peer.state_dict()
    for name, tensor in state.items():
        if tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(state, path)
    return path


@pytest.mark.slow
def test_inception_is_torch_fidelitys(inception_weights, shared_data):
    pixels, _ = read_parquet(shared_data / "data" / "cifar10_jpeg_test.parquet", 200)
    peer = FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_weights)
    )
    with torch.inference_mode():
        features, logits = (torch.cat(parts) for parts in zip(*map(peer, pixels.split(40)), strict=True))
    ours = Inception(weights=inception_weights, sha256=file_sha256(inception_weights)).load(None, CPU)
    found = ours.features(pixels)
    assert features.std() > 1e-3
    torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-4 * features.std().item())
    torch.testing.assert_close(found.probabilities, logits.softmax(1), rtol=1e-3, atol=1e-7)
    alone = ours.features(pixels[100:103]).features
    torch.testing.assert_close(alone, found.features[100:103], rtol=1e-4, atol=1e-4 * features.std().item())
    theirs = fid_statistics_to_metric(
        *(fid_features_to_statistics(part.double()) for part in features.split(100)), verbose=False
    )["frechet_inception_distance"]
    keys = np.arange(100, dtype=np.uint64)
    first, second = (FeatureSet(part, None, None, keys) for part in found.features.split(100))
    assert Frechet()(first, second, None)["frechet"].value == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (28, 40), (299, 299), (600, 311)])
def test_the_resize_is_tensorflow_1s_bit_by_bit(size):
    pixels = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    expected = interpolate_bilinear_2d_like_tensorflow1x(pixels.float(), size=(299, 299), align_corners=False)
    assert torch.equal(tensorflow_bilinear(pixels, 299), expected)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("kernel", [1, (1, 7), 3])
def test_a_fused_convolution_is_the_three_it_replaces(kernel, relu, monkeypatch):
    conv, norm = torch.nn.Conv2d(5, 7, kernel, bias=False, padding=1), torch.nn.BatchNorm2d(7).eval()
    for name in ("running_mean", "weight", "bias"):
        norm.state_dict()[name].normal_()
    x = torch.randn(3, 5, 9, 8).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = norm(conv(x))
        expected = expected.relu() if relu else expected
        fused = FusedConv.of(conv, norm, relu=relu)
        torch.testing.assert_close(fused(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fused(x[:1]), expected[:1], rtol=1e-5, atol=1e-5)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        torch.testing.assert_close(fused(x), expected, rtol=1e-5, atol=1e-5)


def test_inception_refuses_wrong_and_damaged_files(inception_weights, tmp_path):
    with pytest.raises(BadInput, match=r"wrong weights file, SHA-256 .* expected 6726825d0af5f729"):
        Inception(weights=inception_weights).load(None, CPU)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(inception_weights.read_bytes()[:1000])
    with pytest.raises(BadInput, match=r"cut\.pth: (not a readable weights file|refused)"):
        Inception(weights=cut, sha256=file_sha256(cut)).load(None, CPU)
    other = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(2, 2)}, other)
    with pytest.raises(BadInput, match="not Inception weights"):
        Inception(weights=other, sha256=file_sha256(other)).load(None, CPU)


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda tree, path: path.write_bytes(pickle.dumps(tree))])
def test_inception_never_runs_a_pickle(tmp_path, save):
    trap, path = tmp_path / "ran", tmp_path / "evil.pth"
    save({"fc.weight": _Touch(trap)}, path)
    with pytest.raises(BadInput, match="refused, it holds pickled objects"):
        Inception(weights=path, sha256=file_sha256(path)).load(None, CPU)
    assert not trap.exists()


def test_offline_says_which_file_where_and_how(monkeypatch, tmp_path):
    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path))
    with pytest.raises(
        BadInput, match=rf"weights-inception-2015-12-05-6726825d\.pth in {tmp_path}.*no network.*option"
    ):
        Inception().load(None, CPU)


# --- Classifier -------------------------------------------------------------------------------------------------


def test_classifier_ranks_damaged_digits_below_clean_ones(shared_data):
    pixels, labels = read_parquet(shared_data / "data" / "mnist_test.parquet", 3000)
    pixels = pixels.expand(-1, 3, -1, -1)
    extractor = Classifier(images=5000).load([(pixels[:1000], labels[:1000])], CPU)
    real, others = (extractor.features(part) for part in pixels[1000:].split(1000))
    assert real.probabilities is not None
    accuracy = (real.probabilities.argmax(1) == labels[1000:2000]).float().mean()
    assert accuracy > 0.7  # after a quarter of the usual training
    floor = distance(real.features, others.features)
    for damaged in (noisy(pixels[1000:2000], 40), blurred(pixels[1000:2000])):
        assert distance(extractor.features(damaged).features, others.features) > 3 * floor


def two_classes(size=8, count=60):
    labels = torch.arange(count) % 2
    pixels = torch.randint(0, 100, (count, 3, size, size), dtype=torch.uint8)
    return pixels + (labels * 100).to(torch.uint8).view(-1, 1, 1, 1), labels


@pytest.mark.parametrize("size", [8, 28, 64])
def test_classifier_is_deterministic_cached_and_leaves_randomness_alone(size, monkeypatch, tmp_path):
    pixels, labels = two_classes(size)
    options, before = Classifier(images=300, batch_size=30), torch.get_rng_state()
    first = options.load([(pixels, labels)], CPU)
    assert torch.equal(before, torch.get_rng_state())
    assert first.features(pixels).features.shape == (60, 64)
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path))
    again = options.load([(pixels[:25], labels[:25]), (pixels[25:], labels[25:])], CPU)
    assert again.hash == first.hash
    (file,) = (tmp_path / "features").iterdir()
    written = file.stat().st_mtime_ns
    assert options.load([(pixels, labels)], CPU).hash == first.hash
    assert file.stat().st_mtime_ns == written
    file.write_bytes(file.read_bytes()[:-1])
    assert options.load([(pixels, labels)], CPU).hash == first.hash  # damaged, so trained again
    assert options.load([(pixels, 1 - labels)], CPU).hash != first.hash


def test_classifier_refuses_data_without_classes():
    pixels, _ = two_classes()
    with pytest.raises(BadInput, match="no labels"):
        Classifier().load([(pixels, None)], CPU)
    with pytest.raises(BadInput, match="at least two classes"):
        Classifier().load([(pixels, torch.zeros(60, dtype=torch.int64))], CPU)
    with pytest.raises(BadInput, match="at least two classes"):
        Classifier().load(None, CPU)
