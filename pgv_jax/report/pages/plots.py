"""Charts as inline SVG: legible at 400 px width, on light and on dark ground.

Text and axes are drawn in the colour of the page (``currentColor``), series in mid-tones that
stand out on both grounds, each also with its own marker or dash. No figure fetches anything.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from markupsafe import Markup, escape

from pgv_jax.parts import MissingPart, part
from pgv_jax.report.columns import BLUE, GREEN, GREY, ORANGE, PINK, VIOLET, column, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""
FAINT = "#010204"
"""Stands for the page's colour of grid lines."""
OTHER = (BLUE, ORANGE, GREEN, VIOLET, PINK, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH = 4.3
"""Inches: 413 px on a page, so that 10 pt text stays readable when it is scaled to a phone."""

METRICS = {
    "loss": "training loss",
    "val_success": "held-out AUC\nof success",
    "val_goals": "held-out AUC\nof goals",
    "val_score": "held-out\nmean AUC",
}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pgv_jax",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


def or_sentence(draw: Callable[P, Markup | None]) -> Callable[P, Markup | None]:
    """The chart as a page shows it: without matplotlib, the sentence that says so in its place."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Markup | None:
        try:
            return draw(*args, **kwargs)
        except MissingPart as error:
            return Markup("<p>No chart here. {}</p>").format(error)

    return drawn


def color(name: str, place: int = 0) -> str:
    """The colour of an arm or a scorer, the same in every chart."""
    return column(name).colour or OTHER[place % len(OTHER)]


def learning_curve(
    rows: Sequence[Mapping[str, Any]], best_step: int | None = None
) -> Markup | None:
    """Training loss, and each held-out metric, from the lines of ``metrics.jsonl``.

    Held-out metrics are the numeric keys that begin with ``val``, the first three by name; each
    has a panel of its own, since their scales differ. None where there is nothing.
    """
    names = sorted({key for row in rows for key in row if key.startswith("val")})
    curves = {name: points for name in ("loss", *names) if (points := _series(rows, name))}
    curves = dict(list(curves.items())[:4])
    if not curves:
        return None
    with _figure("learning", "Learning curve", 1.35 * len(curves) + 0.5) as (figure, done):
        panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for i, (ax, (name, points)) in enumerate(zip(panels, curves.items(), strict=True)):
            ax.plot(
                *zip(*points, strict=True),
                color=OTHER[i % len(OTHER)],
                marker=None if len(points) > 40 else MARKERS[i],
                markersize=4,
            )
            ax.set_ylabel(_metric_label(name))
            if best_step is not None:
                ax.axvline(best_step, color=INK, linewidth=1, linestyle=":")
        if best_step is not None:
            late = best_step > 0.7 * max(x for points in curves.values() for x, _ in points)
            panels[0].annotate(
                "kept",
                (best_step, 1.0),
                xycoords=panels[0].get_xaxis_transform(),
                xytext=(-5 if late else 5, -2),
                textcoords="offset points",
                ha="right" if late else "left",
                va="top",
            )
        panels[-1].set_xlabel("updates")
    return done[0]


def reliability(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], outcome: str, slug: str = "reliability"
) -> Markup | None:
    """Reliability diagram: mean outcome against mean score per bin, one curve a scorer.

    ``curves`` maps a scorer to the ``bins`` of ``calibration``; a bigger dot holds more steps.
    ``slug`` tells the diagrams of one page apart.
    """
    curves = {name: bins for name, bins in curves.items() if bins}
    if not curves:
        return None
    with _figure(slug, "Reliability diagram", 3.9) as (figure, done):
        ax = figure.subplots()
        ax.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfect")
        for i, (name, bins) in enumerate(curves.items()):
            x = [b["score"] for b in bins]
            y = [b["outcome"] for b in bins]
            total = sum(b["count"] for b in bins)
            tint = color(name, i)
            ax.plot(x, y, color=tint, linewidth=1.2)
            sizes = [12 + 160 * b["count"] / total for b in bins]
            ax.scatter(x, y, s=sizes, color=tint, marker=MARKERS[i], alpha=0.9, label=label(name))
            if i == 0:
                spans = [(x_, *b["ci95"]) for x_, b in zip(x, bins, strict=True)]
                for at, low, high in spans:
                    if low is not None and high is not None:
                        ax.plot([at, at], [low, high], color=tint, linewidth=1.2)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="score", ylabel=outcome)
        _legend_below(ax, columns=2)
    return done[0]


def forest(
    entries: Sequence[tuple[str, float, Sequence[float | None]]], axis: str
) -> Markup | None:
    """One row an arm: (name, value, [low, high]), values in 0..1, in the order given."""
    if not entries:
        return None
    with _figure("forest", axis, 0.36 * len(entries) + 0.75) as (figure, done):
        ax = figure.subplots()
        for i, (name, value, (low, high)) in enumerate(entries):
            tint = color(name, i)
            if low is not None and high is not None:
                ax.plot(
                    [low, high],
                    [i, i],
                    color=tint,
                    linewidth=3.4,
                    alpha=0.45,
                    solid_capstyle="round",
                )
            ax.plot([value], [i], marker="o", color=tint, markersize=7)
            right = (high if high is not None else value) < 0.8
            edge = (high if right else low) if low is not None and high is not None else value
            ax.annotate(
                f"{100 * value:.0f} %",
                (edge, i),
                xytext=(8 if right else -8, 0),
                textcoords="offset points",
                va="center",
                ha="left" if right else "right",
                fontweight="bold" if name == "critic" else "normal",
            )
        ax.set_yticks(range(len(entries)), [label(name) for name, _, _ in entries])
        ax.set(xlim=(-0.02, 1.02), ylim=(len(entries) - 0.5, -0.5), xlabel=axis)
        _percent_ticks(ax)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    return done[0]


def compare_plot(comparison: Mapping[str, Any]) -> Markup | None:
    """First-try success of every run with its interval, as SVG."""
    entries = [
        (name, run["first_try"]["success"], run["first_try"]["ci95"])
        for name, run in comparison["runs"].items()
    ]
    return forest(entries, "success, first try")


def goal_bars(
    kinds: Sequence[str], arms: Mapping[str, Sequence[tuple[float, Sequence[float | None]]]]
) -> Markup | None:
    """Share of goals reached by kind of goal: for each arm one (value, [low, high]) a kind."""
    if not kinds or not arms:
        return None
    slot = 0.135 * len(arms) + 0.14
    with _figure("goals", "Goals reached by kind", slot * len(kinds) + 1.15) as (figure, done):
        ax = figure.subplots()
        height = 0.8 / len(arms)
        for j, (name, values) in enumerate(arms.items()):
            at = [i + (j - (len(arms) - 1) / 2) * height for i in range(len(kinds))]
            ax.barh(
                at,
                [value for value, _ in values],
                height * 0.86,
                color=color(name, j),
                label=label(name),
            )
            for y, (_, (low, high)) in zip(at, values, strict=True):
                if low is not None and high is not None:
                    ax.plot([low, high], [y, y], color=INK, linewidth=1.1)
        ax.set_yticks(range(len(kinds)), list(kinds))
        ax.set(xlim=(0, 1.02), ylim=(len(kinds) - 0.5, -0.5), xlabel="share of goals reached")
        _percent_ticks(ax)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        _legend_below(ax, columns=2)
    return done[0]


def auc_by_step(scorers: Mapping[str, Sequence[Mapping[str, Any]]]) -> Markup | None:
    """AUC of eventual success at fixed steps, one line a scorer: ``by_step`` of the report."""
    scorers = {name: points for name, points in scorers.items() if points}
    if not scorers:
        return None
    with _figure("auc", "AUC by step", 3.6) as (figure, done):
        ax = figure.subplots()
        places = {p["step"]: i for i, p in enumerate(next(iter(scorers.values())))}
        for i, (name, points) in enumerate(scorers.items()):
            x = [places[p["step"]] for p in points]
            chance = name in ("constant", "step_index")
            ax.plot(
                x,
                [p["auc"] for p in points],
                color=color(name, i),
                label=label(name),
                marker=None if chance else MARKERS[i % len(MARKERS)],
                linestyle=":" if chance else "-",
            )
            if name == "critic":
                spans = [(at, *p["ci95"]) for at, p in zip(x, points, strict=True)]
                spans = [span for span in spans if None not in span]
                ax.fill_between(
                    [s[0] for s in spans],
                    [s[1] for s in spans],
                    [s[2] for s in spans],
                    color=color(name),
                    alpha=0.18,
                    linewidth=0,
                )
        ax.set_xticks(list(places.values()), [str(step) for step in places])
        ax.set(xlabel="step of the episode", ylabel="AUC of eventual success")
        _legend_below(ax, columns=2)
    return done[0]


def value_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Markup | None:
    """A value along an episode, one line a goal: points (step from 1, value)."""
    if not any(curves.values()):
        return None
    height = 2.7 + 0.2 * len(curves)
    with (
        warnings.catch_warnings(),
        _figure("values", "Value along the episode", height) as (figure, done),
    ):
        from matplotlib.ticker import MaxNLocator

        # The browser draws the words, in fonts of its own.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        ax = figure.subplots()
        for i, (goal, points) in enumerate(curves.items()):
            words = "".join(c if c.isprintable() else " " for c in goal)
            words = words if len(words) <= 52 else f"{words[:50]}\u2026"
            ax.plot(
                *zip(*points, strict=True),
                color=OTHER[i % len(OTHER)],
                label=words.replace("$", r"\$"),
                marker=MARKERS[i % len(MARKERS)] if len(points) <= 40 else None,
                markersize=4,
                linewidth=1.8 if len(points) <= 150 else 1.1,
                linestyle=("-", "--", "-.", ":")[i % 4],
            )
        values = [value for points in curves.values() for _, value in points]
        if min(values) >= 0 and max(values) <= 1:
            ax.set_ylim(-0.02, 1.02 if max(values) > 0.5 else 1.15 * max(values) + 0.02)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="step", ylabel="value")
        _legend_below(ax, columns=1)
    return done[0]


def data_curve(points: Sequence[Mapping[str, Any]]) -> Markup:
    """AUC of eventual success by the number of training tasks: ``points`` of the report."""
    with _figure("curve", "AUC by training tasks", 2.8) as (figure, done):
        ax = figure.subplots()
        tint = color("critic")
        x = [p["tasks"] for p in points]
        ax.plot(x, [p["auc"] for p in points], color=tint, marker="o")
        for at, point in zip(x, points, strict=True):
            if None not in point["ci95"]:
                ax.plot([at, at], point["ci95"], color=tint, linewidth=1.2)
        ax.axhline(0.5, color=INK, linewidth=1, linestyle=":")
        ax.set_xscale("log")
        ax.set_xticks(x, [str(n) for n in x])
        ax.minorticks_off()
        ax.set(xlabel="training tasks", ylabel="AUC of eventual success")
    return done[0]


@contextmanager
def _figure(slug: str, title: str, height: float) -> Iterator[tuple[Figure, list[Markup]]]:
    with part("report", "A chart"):
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    done: list[Markup] = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, done
        done.append(_to_svg(figure, slug, title))


def _to_svg(figure: Figure, slug: str, title: str) -> Markup:
    target = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(target, format="svg", metadata=nothing)
    svg = target.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor").replace(FAINT, "var(--grid, #8886)")
    # Several charts share one page, so their ids must differ.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{slug}-\1"', svg)
    svg = re.sub(r'href="#', f'href="#{slug}-', svg)
    svg = re.sub(r"url\(#", f"url(#{slug}-", svg)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg)
    name = escape(title)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1))


def _legend_below(ax: Axes, columns: int) -> None:
    ax.figure.legend(loc="outside lower left", ncols=columns, handlelength=1.6, columnspacing=1.2)


def _percent_ticks(ax: Axes) -> None:
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [
        (float(row["step"]), float(row[key]))
        for row in rows
        if isinstance(row.get(key), int | float) and "step" in row
    ]


def _metric_label(name: str) -> str:
    return METRICS.get(name) or "held-out\n" + name.removeprefix("val").strip("/_.")
