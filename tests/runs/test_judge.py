"""Judging: a run, a folder, an .npz or a pack against real images, and what is written down about it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, ensure_pack
from mezzotint.errors import BadInput
from mezzotint.evaluation.images import DrawnPictures, PixelArray
from mezzotint.evaluation.score import Score
from mezzotint.generation.saving import saved
from mezzotint.generation.stream import stream
from mezzotint.pixels import write_png
from mezzotint.runs import judge as judging
from mezzotint.runs.judge import judge, open_case
from mezzotint.runs.references import provenance
from mezzotint.runs.run import Run
from tiny import train

PROTOCOL = "fd-classifier-64"
QUICK = "evaluation.extractors=[{kind: classifier, images: 1000}]"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; only its scores.jsonl grows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        return train(tmp_path_factory.mktemp("runs"), "judged", [QUICK])[0]


def _score(target: Path, against: str, protocols: Sequence[str] = (PROTOCOL,), **how: object) -> Score:
    *_, score = judge(open_case(target, against, protocols, **how))  # type: ignore[arg-type]
    assert isinstance(score, Score)
    return score


def _digits(split: str, channels: int | None = None) -> Pack:
    tree = {"source": "digits", "image_size": 8, "split": split, "channels": channels}
    return ensure_pack(DataOptions.model_validate(tree))


def test_a_runs_score_is_kept_with_all_that_decides_it(run: Run) -> None:
    score = _score(run.folder.path, "digits:test")
    (line,) = run.folder.read_scores()
    assert line["protocol"] == PROTOCOL
    assert line["values"]["frechet"]["value"] == score.values["frechet"].value > 0
    assert (line["count"], line["reference_count"]) == (64, 360)
    assert line["floor"]["source"] == "held-out"
    assert line["floor"]["count"] == 64
    assert 0 < line["floor"]["values"]["frechet"]["value"] < line["values"]["frechet"]["value"]
    assert line["extractor"] == "classifier"
    assert len(line["extractor_hash"]) >= 12
    assert len(line["reference_fingerprint"]) >= 12
    drawn = {key: line[key] for key in ("checkpoint", "weights", "changes", "against")}
    assert drawn == {"checkpoint": 320, "weights": "ema", "changes": [], "against": "digits:test"}


def test_a_score_does_not_depend_on_how_many_are_drawn_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "BATCH", 64)
    whole = _score(run.folder.path, "digits:test").values["frechet"].value
    monkeypatch.setattr(judging, "BATCH", 13)
    parts = _score(run.folder.path, "digits:test").values["frechet"].value
    assert parts == pytest.approx(whole, rel=0.01)  # a grey level here or there
    other = _score(run.folder.path, "digits:test", changes=["sampling.steps=1"]).values["frechet"].value
    assert abs(other - whole) > 0.05 * whole


def test_reading_pictures_does_not_change_how_the_reader_computes(run: Run) -> None:
    drawn = DrawnPictures(run.generator("last", "ema"), run.machine, 4)
    for _ in drawn:
        assert not torch.is_autocast_enabled(run.machine.device.type)


def test_the_protocol_defaults_to_the_runs_own(run: Run) -> None:
    changes = ["evaluation.protocol=fd-classifier-32"]
    assert _score(run.folder.path, "digits:test", (), changes=changes).protocol == "fd-classifier-32"


def test_against_its_own_training_images_the_floor_is_of_halves(run: Run) -> None:
    floor = _score(run.folder.path, "digits:train").floor
    assert floor is not None
    assert floor.source == "halves"


# --- Which images are the training images --------------------------------------------------------------------


def _training_images(run: Run) -> np.ndarray:
    loader = run.loader()
    return loader.pack.pixels(loader.train_indices).numpy()


@pytest.mark.parametrize("against", ["digits:test", "digits:train"])
def test_copies_are_sought_among_the_runs_own_training_images(
    run: Run, against: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = PixelArray(_training_images(run), None, 64)
    monkeypatch.setattr(judging, "DrawnPictures", lambda *_: copies)
    score = _score(run.folder.path, against, ["memorisation-classifier-1000"])
    assert score.reference_is_training
    assert "against digits train" in score.description
    assert "as the training images" in score.description
    assert "memorised: " in str(score.warning)
    assert score.values["copies"].value > 0.5


def test_what_seeks_copies_is_judged_alone_and_by_images(run: Run, tmp_path: Path) -> None:
    protocols = ["memorisation-classifier-64", PROTOCOL]
    with pytest.raises(BadInput, match="what looks for copies has another reference"):
        _score(run.folder.path, "digits:test", protocols)
    with pytest.raises(BadInput, match="the --against images are the held-out ones"):
        _score(run.folder.path, "digits:test", protocols[:1], held_out="digits:test")
    np.savez(tmp_path / "stats.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(BadInput, match="to look for copies takes real images"):
        _score(run.folder.path, str(tmp_path / "stats.npz"), protocols[:1])


def test_the_format_of_the_generated_images_is_told(run: Run, tmp_path: Path) -> None:
    for number, picture in enumerate(_training_images(run)[:64, 0]):
        Image.fromarray(picture).save(tmp_path / f"{number:02}.jpg")
    score = _score(tmp_path, "digits:test")
    assert (score.generated_format, score.description[: len(PROTOCOL) + 8]) == ("jpeg", f"{PROTOCOL} of jpeg")
    assert "are JPEG files" in str(score.warning)
    drawn = _score(run.folder.path, "digits:test")
    assert drawn.generated_format == "drawn"
    assert "JPEG" not in str(drawn.warning)
    assert _score(_digits("train").path, "digits:test").generated_format == "array"


def test_a_reference_cut_by_a_limit_is_not_whole(run: Run) -> None:
    cut = ensure_pack(DataOptions.model_validate({"source": "digits", "image_size": 8, "split": "test", "limit": 200}))
    whole = _digits("test")
    assert [provenance(pack).whole for pack in (cut, whole)] == [False, True]


def test_a_folder_an_npz_and_a_pack_score_alike(run: Run, tmp_path: Path) -> None:
    generator = run.generator("last", "ema")
    for out in (tmp_path / "drawn", tmp_path / "drawn.npz"):
        pictures = stream(generator, range(64), batch_size=64, device="cpu")
        assert len(list(saved(pictures, out))) == 1
    assert (tmp_path / "drawn" / "sheet.png").is_file()  # lies among the pictures, is none of them
    of_folder = _score(tmp_path / "drawn", "digits:test")
    of_array = _score(tmp_path / "drawn.npz", "digits:test")
    against_pack = _score(tmp_path / "drawn", str(_digits("test").path))
    assert of_folder.values["frechet"].value == pytest.approx(of_array.values["frechet"].value, rel=1e-4)
    assert against_pack.values["frechet"].value == pytest.approx(of_array.values["frechet"].value, rel=1e-4)
    real = _score(_digits("train").path, "digits:test")
    assert real.values["frechet"].value < of_array.values["frechet"].value


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("digit:test", r"data 'digit:test': no such pack, file or folder, and no such source; did you mean digits"),
        ("digits:tset", r"data\.split: .*'tset'.*test"),
        ("missing.parquet", r"data 'missing\.parquet': no such pack, file or folder"),
    ],
)
def test_wrong_real_images(run: Run, against: str, message: str) -> None:
    before = run.folder.read_scores() if run.folder.scores.exists() else []
    with pytest.raises(BadInput, match=message):
        _score(run.folder.path, against)
    assert (run.folder.read_scores() if run.folder.scores.exists() else []) == before


def test_wrong_targets(run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"judgd: no such run, pack, folder .*\.npz .*; beside it: did you mean judged\?"
    ):
        _score(run.folder.path.parent / "judgd", "digits:test", ())
    write_png(tmp_path / "wide" / "one.png", torch.zeros((1, 8, 9), dtype=torch.uint8))
    with pytest.raises(BadInput, match=r"wide: pictures are 9x8 px, must be square"):
        _score(tmp_path / "wide", "digits:test")
    with pytest.raises(BadInput, match=r"--protocol: .*wide is not a run"):
        _score(tmp_path / "wide", "digits:test", ())
    with pytest.raises(BadInput, match=r"'sampling\.steps=3': .*wide is not a run"):
        _score(tmp_path / "wide", "digits:test", changes=["sampling.steps=3"])


def test_too_few_pictures(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", pixels=np.zeros((5, 1, 8, 8), np.uint8))
    with pytest.raises(BadInput, match=r"fd-classifier-64: needs 64 generated images, there are 5"):
        _score(tmp_path / "few.npz", "digits:test")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"protocols": ["fd-clasifier-64"]}, "did you mean fd-classifier-64"),
        ({"which": "321"}, "no 321 checkpoint: there are 288, 320"),
        ({"which": "best"}, "no checkpoint is marked best"),
        ({"changes": ["training.images=3"]}, "a trained run takes sampling"),
        ({"device": "gpu"}, "device 'gpu' is not on this machine"),
    ],
)
def test_wrong_ways_to_judge(run: Run, how: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _score(run.folder.path, "digits:test", **how)  # type: ignore[arg-type]
