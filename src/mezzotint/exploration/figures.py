"""Figures of what the other files of this room compute, drawn by matplotlib; for light and for dark pages."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from mezzotint.exploration.schedules import Curve
from mezzotint.exploration.spectrum import Band
from mezzotint.generation.grid import grid, visible_scale

_DPI = 180
_STRIP_DPI = 130  # noise can't be compressed
_WIDTH, _HEIGHT = 5.2, 3.1  # inches: one figure fills a phone's width and stays readable there
_MOST_NAMED = 40  # bars with a name each
_CHANNELS = {1: ("#7f7f7f",), 3: ("#e34a4a", "#3fa34d", "#4a7be3")}
_U = "u (0 = most noise, 1 = least)"
_COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#bb8866",
    "#0099aa",
    "#ee9944",
    "#8888dd",
    "#777777",
    "#99cc22",
    "#dd77cc",
)
_DASHES: tuple[tuple[float, ...], ...] = ((1, 0), (6, 1.5), (1.2, 2))


@dataclass(frozen=True)
class Ink:
    """Colours of a page."""

    paper: str
    text: str
    lines: str


LIGHT, DARK = Ink("#ffffff", "#26292e", "#dcdfe4"), Ink("#16181c", "#d5d8dd", "#3a3e45")
EITHER = Ink("none", "#808690", "#808690")
"""For pictures too large to be kept twice: no paper, and text that can be read on any."""

Drawing = Callable[[Ink], Figure]


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _axes(ink: Ink, across: str, up: str, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    """Make an empty figure of one plot with its labels in the page's colours."""
    figure = Figure(figsize=(_WIDTH, height), facecolor=ink.paper, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    _dress(axes, ink, across, up)
    return figure, axes


def _dress(axes: Axes, ink: Ink, across: str, up: str) -> None:
    """Give a plot the page's colours, a grid and labels."""
    axes.set_facecolor(ink.paper)
    axes.set_xlabel(across, color=ink.text, fontsize=9)
    axes.set_ylabel(up, color=ink.text, fontsize=9)
    axes.tick_params(which="both", colors=ink.text, labelsize=8, length=0)
    axes.grid(color=ink.lines, linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(figure: Figure, axes: Axes, ink: Ink, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=7.5, frameon=False, labelcolor=ink.text
    )


# --- What a data set holds -----------------------------------------------------------------------------------------


def grey_levels(levels: np.ndarray, ink: Ink) -> Figure:
    """Draw how often each grey level stands in each channel: int64 [C, 256]."""
    figure, axes = _axes(ink, "grey level", "share of all pixels")
    shares = levels / levels.sum(1, keepdims=True)
    for share, colour in zip(shares, _CHANNELS[len(levels)], strict=True):
        axes.fill_between(np.arange(256), share, step="mid", color=colour, alpha=0.25, linewidth=0)
        axes.step(np.arange(256), share, where="mid", color=colour, linewidth=1)
    most = 5 * np.quantile(shares, 0.98)  # black and white may tower over the rest
    axes.set(xlim=(-1, 256), ylim=(0, 1.08 * min(shares.max(), most) or 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if shares.max() > most > 0:
        told = f"cut off: 0 up to {shares[:, 0].max():.1%}, 255 up to {shares[:, -1].max():.1%}"
        axes.text(0.98, 0.95, told, transform=axes.transAxes, ha="right", va="top", color=ink.text, fontsize=8)
    return figure


def class_counts(counts: Mapping[str, int], ink: Ink) -> Figure:
    """Draw pictures per class, with names where they are few enough to be read."""
    names, values = list(counts), np.array(list(counts.values()))
    few = len(names) <= _MOST_NAMED
    height = max(1.2, 0.5 + 0.19 * len(names)) if few else _HEIGHT
    figure, axes = _axes(ink, "pictures" if few else "classes, largest first", "" if few else "pictures", height)
    if few:
        axes.barh(names, values, color=_COLOURS[0])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
    else:
        axes.bar(np.arange(len(values)), np.sort(values)[::-1], width=1.0, color=_COLOURS[0])
    return figure


def shorter_sides(sizes: np.ndarray, image_size: int, ink: Ink) -> Figure:
    """Draw the shorter sides of originals, int64 [n, 2] width and height, and the size they were prepared at."""
    figure, axes = _axes(ink, "shorter side of the originals, pixels", "share of originals")
    shorter = sizes.min(1)
    _histogram(axes, shorter, np.linspace(0, max(shorter.max(), image_size) * 1.05, 50))
    axes.axvline(image_size, color=_COLOURS[1], linewidth=1.5, label=f"prepared: {image_size} px")
    _legend(figure, axes, ink, 1)
    return figure


def aspect_ratios(ratios: np.ndarray, ink: Ink) -> Figure:
    """Draw width over height, float64 [n], on a scale where twice as wide and twice as high are alike."""
    figure, axes = _axes(ink, "width / height of the originals", "share of originals")
    reach = max(1.6, float(np.abs(np.log2(ratios)).max()) * 1.1)
    _histogram(axes, np.log2(ratios), np.linspace(-reach, reach, 61))
    ticks = [place for place in (-3, -2, -1, -0.415, 0, 0.415, 1, 2, 3) if abs(place) <= reach]
    names = {-3: "1:8", -2: "1:4", -1: "1:2", -0.415: "3:4", 0: "1:1", 0.415: "4:3", 1: "2:1", 2: "4:1", 3: "8:1"}
    axes.set_xticks(ticks, [names[place] for place in ticks])
    return figure


def _histogram(axes: Axes, values: np.ndarray, edges: np.ndarray) -> None:
    axes.hist(values, bins=edges.tolist(), weights=np.full(len(values), 1 / len(values)), color=_COLOURS[0])
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def frequencies(bands: Sequence[Band], drowned: tuple[float, float], ink: Ink) -> Figure:
    """Draw the noise level at which each band of frequencies drowns."""
    figure, axes = _axes(ink, "frequency, cycles per picture", "sigma at which it drowns (SNR 1)")
    within = [band for band in bands if band.low > 0]
    axes.axhspan(*drowned, color=_COLOURS[3], alpha=0.22, linewidth=0, label="90 % of all frequencies drown here")
    centres = [(band.low * band.high) ** 0.5 for band in within]
    axes.plot(centres, [band.sigma for band in within], "o-", color=_COLOURS[0], markersize=4, linewidth=1.5)
    axes.set(xscale="log", yscale="log")
    ticks = [2**k for k in range(10) if 2**k <= within[-1].high]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    _legend(figure, axes, ink, 1)
    return figure


# --- Schedules -----------------------------------------------------------------------------------------------------


def curves(found: Sequence[Curve], of: Callable[[Curve], Tensor], up: str, ink: Ink, log: bool = False) -> Figure:
    """Draw one property of schedules against u."""
    rows = -(-len(found) // 4)
    figure, axes = _axes(ink, _U, up, _HEIGHT + 0.19 * rows)
    _plot(axes, found, lambda curve: curve.u, of)
    axes.set(xlim=(0, 1), yscale="log" if log else "linear")
    _legend(figure, axes, ink, 4)
    return figure


def _plot(axes: Axes, found: Sequence[Curve], x: Callable[[Curve], Tensor], y: Callable[[Curve], Tensor]) -> None:
    for curve, colour, dashes in zip(found, cycle(_COLOURS), cycle(_DASHES), strict=False):
        axes.plot(x(curve), y(curve), color=colour, dashes=dashes, linewidth=1.6, label=curve.name)


def overview(found: Sequence[Curve], ink: Ink = LIGHT) -> Figure:
    """Draw all that is known of schedules, in one picture: sigma, log-SNR and alpha over u, and where training is."""
    figure = Figure(figsize=(2 * _WIDTH, 2 * _HEIGHT + 0.3), facecolor=ink.paper, dpi=_DPI, layout="constrained")
    (sigma, log_snr), (density, alpha) = figure.subplots(2, 2)
    plots: tuple[tuple[Axes, str, str, str, Callable[[Curve], Tensor]], ...] = (
        (sigma, "sigma over u", _U, "sigma", lambda curve: curve.sigma),
        (log_snr, "log-SNR over u", _U, "log-SNR", lambda curve: curve.log_snr),
        (alpha, "alpha over u", _U, "alpha", lambda curve: curve.alpha),
        (density, "density of ln sigma in training", "sigma", "density", lambda curve: curve.density),
    )
    for axes, title, across, up, of in plots:
        _dress(axes, ink, across, up)
        axes.set_title(title, color=ink.text, fontsize=10, loc="left")
        _plot(axes, found, (lambda curve: curve.u) if across == _U else (lambda curve: curve.sigma), of)
    sigma.set(yscale="log", xlim=(0, 1))
    log_snr.set(xlim=(0, 1))
    alpha.set(xlim=(0, 1), ylim=(-0.02, 1.05))
    density.set(xscale="log", ylim=(0, None))
    _legend(figure, sigma, ink, 7)
    return figure


def log_snr(found: Sequence[Curve], drowned: tuple[float, float] | None, ink: Ink) -> Figure:
    """Draw log-SNR against u, and between which values the frequencies of a data set drown (as sigmas)."""
    figure = curves(found, lambda curve: curve.log_snr, "log-SNR", ink)
    if drowned is not None:
        low, high = (-2 * np.log(sigma) for sigma in drowned)
        figure.axes[0].axhspan(low, high, color=_COLOURS[3], alpha=0.22, linewidth=0)
    return figure


def strip(rows: Mapping[str, Tensor], columns: Sequence[str], ink: Ink) -> Figure:
    """Draw one row of pictures uint8 [n, C, H, W] per name, with what the columns are above."""
    pictures, count = list(rows.values()), len(columns)
    cell = pictures[0].shape[-1] * visible_scale(*pictures[0].shape[-2:]) + 2
    sheets = [grid(row, columns=count) for row in pictures]
    image = np.concatenate([sheet.permute(1, 2, 0).expand(-1, -1, 3).numpy() for sheet in sheets])
    width, height = 1.1 + 0.56 * count, 0.4 + 0.56 * len(rows)
    figure = Figure(figsize=(width, height), facecolor=ink.paper, dpi=_STRIP_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(image, interpolation="nearest", interpolation_stage="rgba")
    axes.set_yticks([(place + 0.5) * sheets[0].shape[1] for place in range(len(rows))], list(rows))
    axes.set_xticks([(place + 0.5) * cell for place in range(count)], list(columns))
    axes.tick_params(colors=ink.text, labelsize=8, length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
