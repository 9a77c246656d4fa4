import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.errors import BadInput
from mezzotint.evaluation.images import DrawnPictures, open_images
from mezzotint.machine import Machine
from mezzotint.pixels import write_png


def pixels(count=5, channels=3, size=8):
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)


def test_folder_is_read_in_batches_again_and_again(tmp_path):
    images = pixels()
    for i, picture in enumerate(images):
        write_png(tmp_path / f"{i}.png", picture)
    (tmp_path / "notes.txt").write_text("not a picture")
    found = open_images(tmp_path, batch_size=2)
    for _ in range(2):
        parts = [part for part, labels in found if labels is None]
        assert [len(part) for part in parts] == [2, 2, 1]
        assert torch.equal(torch.cat(parts), images)


def test_gray_and_colour_pictures_go_together(tmp_path):
    write_png(tmp_path / "a.png", pixels(1, 1)[0])
    write_png(tmp_path / "b.png", pixels(1, 3)[0])
    ((found, _),) = open_images(tmp_path)
    assert found.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("name", ["pixels", "arr_0"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_archives_in_both_layouts(tmp_path, name, channels, last):
    images = pixels(channels=channels)
    array = images.permute(0, 2, 3, 1).numpy() if last else images.numpy()
    np.savez(tmp_path / "x.npz", **{name: array, "labels": np.arange(5)})
    batches = list(open_images(tmp_path / "x.npz", batch_size=4))
    assert torch.equal(torch.cat([p for p, _ in batches]), images)
    assert torch.cat([labels for _, labels in batches if labels is not None]).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": np.zeros((2, 3, 8, 8), np.float32)}, "float32, must be uint8"),
        ({"pixels": np.zeros((2, 4, 8, 8), np.uint8)}, r"shape \[2, 4, 8, 8\]"),
        ({"pixels": np.zeros((8, 8), np.uint8)}, "shape"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8)}, "must hold `pixels` or `arr_0`"),
        ({"pixels": np.array([{"a": 1}], dtype=object)}, "plain arrays"),
        ({"pixels": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.zeros(2)}, "`labels` must be 2 integers"),
    ],
)
def test_archives_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(BadInput, match=message):
        open_images(tmp_path / "x.npz")


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_truncated_archive(tmp_path, keep):
    np.savez(tmp_path / "x.npz", pixels=pixels().numpy())
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"x\.npz: not a readable"):
        open_images(tmp_path / "x.npz")


def test_an_npz_of_other_arrays_says_which(tmp_path):
    np.savez(tmp_path / "x.npz", mu=np.zeros(3), foo=np.zeros(2))
    with pytest.raises(BadInput, match=r"x\.npz: holds `mu`, `foo`, must hold `pixels` or `arr_0`"):
        open_images(tmp_path / "x.npz")


@pytest.mark.parametrize("content", ["npy", "text"])
def test_what_is_only_called_npz_is_told_without_advice_to_unpickle_it(tmp_path, content):
    path = tmp_path / "x.npz"
    if content == "npy":
        with path.open("wb") as file:
            np.save(file, pixels().numpy())
    else:
        path.write_text("hello")
    with pytest.raises(BadInput, match=r"x\.npz: not a readable") as told:
        open_images(path)
    assert "pickle" not in str(told.value)


def test_odd_files_are_named(tmp_path):
    write_png(tmp_path / "a.png", pixels()[0])
    write_png(tmp_path / "b.png", pixels(size=9)[0])
    with pytest.raises(BadInput, match=r"b\.png: is 9x9 px, but a\.png is 8x8"):
        list(open_images(tmp_path))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(BadInput, match=r"b\.png: not a readable picture"):
        list(open_images(tmp_path))
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "b.png")
    with pytest.raises(BadInput, match=r"b\.png: has mode I;16"):
        list(open_images(tmp_path))


def test_places_without_images(tmp_path):
    with pytest.raises(BadInput, match="no PNG or JPEG"):
        open_images(tmp_path)
    with pytest.raises(BadInput, match="must be a folder"):
        open_images(tmp_path / "absent.npz")


def test_parquet_rows_are_read_as_they_are(tmp_path):
    images = pixels(5)
    path = parquet(tmp_path / "drawn.parquet", images)
    found = open_images(path, batch_size=2)
    assert len(found) == 5
    assert torch.equal(torch.cat([part for part, _ in found]), images)


def test_parquet_rows_that_do_not_fit_are_named(tmp_path):
    path = parquet(tmp_path / "drawn.parquet", [*pixels(2), *pixels(1, size=9)])
    with pytest.raises(BadInput, match=r"drawn\.parquet:2.*: is 9x9 px, but drawn\.parquet:0.* is 8x8"):
        list(open_images(path))


def parquet(path, images):
    import io

    import pyarrow as pa
    from pyarrow import parquet as files

    from mezzotint.pixels import to_pillow

    rows = []
    for picture in images:
        buffer = io.BytesIO()
        to_pillow(picture).save(buffer, format="PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    files.write_table(pa.table({"image": rows}), path)
    return path


def test_a_generators_pictures_are_drawn_batch_by_batch():
    class Seeds:
        latent_shape: tuple[int, ...] = (3, 4, 4)
        num_classes: int = 3

        def decode(self, latent, labels, noise):
            return latent.clamp(-1, 1)

    machine = Machine(torch.device("cpu"), "float32", 1)
    drawn = DrawnPictures(Seeds(), machine, 10, 4)
    assert len(drawn) == 10
    parts = [drawn.batch(number) for number in (2, 0, 1)]
    assert [len(part) for part, _ in parts] == [2, 4, 4]
    whole = torch.cat([part for part, _ in DrawnPictures(Seeds(), machine, 10, 10)])
    assert torch.equal(torch.cat([parts[1][0], parts[2][0], parts[0][0]]), whole)
    labels = parts[0][1]
    assert labels is not None
    assert labels.tolist() == [2, 0]
