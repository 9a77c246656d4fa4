"""One self-contained HTML page about a data set, and its pictures as PNG files beside it."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from mezzotint.data.pack import Pack
from mezzotint.diffusion.schedules import Schedule
from mezzotint.disk import write_bytes, write_text
from mezzotint.errors import BadInput
from mezzotint.exploration.advice import overrides
from mezzotint.exploration.dataset import Dataset
from mezzotint.exploration.figures import DARK, EITHER, LIGHT, png
from mezzotint.exploration.sections import Picture, Section, sections
from mezzotint.options import Tree
from mezzotint.pixels import to_pillow


def write(found: Dataset, chosen: Mapping[str, Schedule], folder: Path) -> Path:
    """Write `index.html`, which needs no other file and no network, and its pictures; return its path."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"-o {folder}: is a file; name a folder")
    parts = [_drawn(section, folder) for section in sections(found, chosen)]
    environment = Environment(
        loader=PackageLoader("mezzotint.exploration"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("dataset.html").render(
        title=_title(found.pack), facts=_facts(found.pack), parts=parts, overrides=overrides(found.advice)
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"


def _title(pack: Pack) -> str:
    place = pack.info.provenance.get("path")
    return Path(place).name if place else str(pack.info.source.get("kind"))


def _facts(pack: Pack) -> dict[str, str]:
    info = pack.info
    return {
        "pictures": f"{info.count:,}",
        "size": f"{info.image_size} px",
        "channels": "colour" if info.channels == 3 else "grey",
        "classes": str(pack.num_classes or "none"),
        "split": info.split,
        "content": info.content_hash[:12],
    }


def _drawn(section: Section, folder: Path) -> Tree:
    """Draw a section's pictures into files and return all that the template needs."""
    return {
        "title": section.title,
        "sentences": section.sentences,
        "pictures": [_shown(picture, folder) for picture in section.pictures],
        "columns": section.columns,
        "rows": section.rows,
    }


def _shown(picture: Picture, folder: Path) -> Tree:
    light, dark = _files(picture)
    write_bytes(folder / f"{picture.name}.png", light, durable=False)
    return {
        "says": picture.says,
        "wide": picture.wide,
        "pixelated": isinstance(picture.drawn, Tensor),
        "light": _data_uri(light),
        "dark": dark and _data_uri(dark),
    }


def _files(picture: Picture) -> tuple[bytes, bytes | None]:
    """Draw a picture for light pages and, unless one does for both, for dark ones."""
    if picture.wide and not isinstance(picture.drawn, Tensor):
        return png(picture.drawn(EITHER)), None
    if not isinstance(picture.drawn, Tensor):
        return png(picture.drawn(LIGHT)), png(picture.drawn(DARK))
    buffer = io.BytesIO()
    to_pillow(picture.drawn).save(buffer, format="PNG")
    return buffer.getvalue(), None


def _data_uri(file: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"
