"""What the drawn pages of the documentation share: one style sheet for SVG files that stand alone, light and dark."""

from __future__ import annotations

from markupsafe import Markup

from searchitect.report import svg

XML = "http://www.w3.org/2000/svg"
STYLE = Markup(
    "<style>svg{--paper:#fcfcfa;--card:#fff;--ink:#1c1f23;--soft:#5b6470;--line:#dcdfe3;--s1:#1f5fbf;--s2:#b8560f;"
    "--s3:#1d7a4c;--s4:#7a45b0;--s5:#a12a68;--s6:#52606d}"
    "@media(prefers-color-scheme:dark){svg{--paper:#14171a;--card:#1b1f24;--ink:#e7e9ec;--soft:#a0a9b4;--line:#343b43;"
    "--s1:#7fb0f5;--s2:#f0a264;--s3:#5cc48d;--s4:#c09bee;--s5:#ee8fbd;--s6:#a5b1bd}}"
    "text{font:12px system-ui,sans-serif;fill:var(--ink)}.tick,.label{fill:var(--soft);font-size:11px}"
    ".name{fill:var(--ink)}.strong{font-weight:600;font-size:13px}.code{font:11px ui-monospace,monospace}"
    ".paper{fill:var(--paper)}.box{fill:var(--card);stroke:var(--line)}.choice{fill:var(--card);stroke:var(--s2);"
    "stroke-width:1.5}.wire{fill:none;stroke:var(--soft)}.axis,.gridline{stroke:var(--line)}.node{fill:var(--card);"
    "stroke:var(--soft)}.curve{fill:none;stroke-width:1.8}.passes{stroke-dasharray:4 3}.halo{paint-order:stroke;"
    "stroke:var(--paper);stroke-width:4px}.band{opacity:.15;stroke:none}"
    + "".join(f".s{i}{{stroke:var(--s{i})}}.f{i}{{fill:var(--s{i})}}" for i in range(1, 7))
    + "</style>"
)


def picture(label: str, width: float, height: float, *parts: Markup) -> str:
    """A whole file: background, style and parts; `label` is what a screen reader says."""
    back = svg.tag("rect", width=float(width), height=float(height), class_="paper", rx=6.0)
    size = {"width": float(width), "height": float(height), "viewBox": f"0 0 {width:g} {height:g}"}
    return f"{svg.tag('svg', STYLE, back, *parts, xmlns=XML, role='img', aria_label=label, **size)}\n"


def moved(x: float, y: float, *parts: Markup) -> Markup:
    """Parts at another place."""
    return svg.tag("g", *parts, transform=f"translate({x:g} {y:g})")
