"""From a matplotlib figure to an SVG string that can stand in a page with others: small, same bytes on every run.

Ids are prefixed with the figure's id (unused ones dropped), style attributes become presentation attributes so that the
page's content security policy needs no inline styles, text stays text, coordinates keep two decimals.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
PANEL = "#fcfcfa"
INK = "#222222"

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.facecolor": PANEL,
    "figure.facecolor": PANEL,
    "savefig.facecolor": PANEL,
    "axes.grid": True,
    "grid.color": "#e2e2de",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "axes.unicode_minus": True,
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.formatter.useoffset": False,
    "path.simplify": True,
    "image.composite_image": False,
    "figure.dpi": 72.0,
}


@contextmanager
def drawing(figure_id: str) -> Iterator[None]:
    """Settings of every figure, whatever the user's matplotlibrc says; ids are salted with the figure's id."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        # text stays text, so the reader's fonts draw it: a glyph that DejaVu lacks only makes its width a guess
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update({**_SETTINGS, "svg.hashsalt": figure_id})
        yield


def render(figure: Figure, figure_id: str, title: str) -> str:
    """The figure as a tidy SVG string; to be called inside ``drawing``."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return tidy(buffer.getvalue(), figure_id, title)


_STYLE = re.compile(r'\sstyle="([^"]*)"')
_FONT = re.compile(r"(?:(italic|oblique)\s+)?(?:(bold|\d{3})\s+)?([\d.]+)px\s+.*", re.DOTALL)
_ID = re.compile(r'\sid="([^"]*)"')
_LONG = re.compile(r"(\d\.\d\d)\d+")
_COORDINATES = re.compile(r'\s(d|x|y|x1|y1|x2|y2|width|height|points|transform|font-size|viewBox)="([^"]*)"')


def _font_attributes(value: str) -> dict[str, str]:
    match = _FONT.fullmatch(value.strip())
    if match is None:
        return {}
    slant, weight, size = match.groups()
    named = {"font-size": size, "font-style": slant, "font-weight": weight}
    return {name: text for name, text in named.items() if text}


def _attributes(match: re.Match[str]) -> str:
    """``style="a: b; ..."`` as presentation attributes."""
    found: dict[str, str] = {}  # of a repeated declaration the last one counts
    for declaration in match.group(1).split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            found |= _font_attributes(value)
        elif name and name not in ("font-family", "-inkscape-stroke"):
            found[name] = value.replace('"', "'")
    return "".join(f' {name}="{escape(value)}"' for name, value in found.items())


def _short(match: re.Match[str]) -> str:
    value = _LONG.sub(r"\1", match.group(2))
    return f' {match.group(1)}="{value}"'


def _with_prefix(text: str, figure_id: str) -> str:
    """Referenced ids prefixed, the others dropped."""
    referenced = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    text = _ID.sub(lambda m: f' id="{figure_id}-{m.group(1)}"' if m.group(1) in referenced else "", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{figure_id}-\1"', text)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{figure_id}-\1)", text)


_TURN = re.compile(r'\stransform="rotate\(-?0 [^)]*\)"')
_PATH = re.compile(r'\sd="([^"]*)"')
_GROUP = re.compile(r"<g\b[^>]*>|</g>")


def _without_bare_groups(text: str) -> str:
    """Groups that carry no attribute change nothing; matplotlib nests six of them around a tick."""
    bare: list[bool] = []

    def decide(match: re.Match[str]) -> str:
        if match.group() == "</g>":
            return "" if bare.pop() else "</g>"
        if match.group().endswith("/>"):
            return ""
        bare.append(match.group() == "<g>")
        return "" if bare[-1] else match.group()

    return _GROUP.sub(decide, text)


def _tight(match: re.Match[str]) -> str:
    """A path without the blanks it does not need."""
    value = re.sub(r"\s+", " ", match.group(1)).strip()
    return f' d="{re.sub(r" ?([A-Za-z]) ?", lambda m: m.group(1), value)}"'


def tidy(text: str, figure_id: str, title: str) -> str:
    """See the module's docstring."""
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = _STYLE.sub(_attributes, body)
    body = _with_prefix(body, figure_id)
    body = _COORDINATES.sub(_short, body)
    body = _PATH.sub(_tight, _TURN.sub("", body))
    body = _without_bare_groups(body)
    body = re.sub(r">\s+<", ">\n<", body)
    box = re.search(r'viewBox="[^"]*"', body)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = (
        f"<svg {names} {box.group() if box else ''} "
        f'role="img" aria-label="{escape(title)}" font-family="{FONT}" stroke-linejoin="round" stroke-linecap="butt">'
        f"<title>{escape(title)}</title>"
    )
    return head + body[body.index(">") + 1 :].strip()
