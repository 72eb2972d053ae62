"""The few SVG elements the report draws with. Colours come from the page's style sheet, by class."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

Point = tuple[float, float]


def tag(name: str, content: str = "", **attributes: object) -> str:
    """One element; `content` is markup, attribute values are escaped, `class_` is class and `a_b` is a-b."""
    spelled = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{name}{spelled}>{content}</{name}>" if content else f"<{name}{spelled}/>"


def drawing(width: float, height: float, content: Iterable[str], title: str, least: float = 0.0) -> str:
    """A drawing that shrinks with the page, to `least` of its size at most; `title` is what a screen reader says."""
    label = tag("title", escape(title))
    return tag(
        "svg",
        label + "".join(content),
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        role="img",
        style=f"max-width:{_value(width)}px;min-width:{_value(least * width)}px",
    )


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> str:
    """Words with their baseline's start, middle or end at (x, y)."""
    return tag("text", escape(words), x=x, y=y, class_=class_, text_anchor=anchor)


def line(start: Point, end: Point, class_: str) -> str:
    """A straight line."""
    return tag("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=class_)


def box(x: float, y: float, width: float, height: float, class_: str) -> str:
    """A rectangle with slightly rounded corners."""
    return tag("rect", x=x, y=y, width=max(width, 0.0), height=height, rx=2, class_=class_)


def dot(centre: Point, radius: float, class_: str, note: str = "") -> str:
    """A disc; `note` shows while the pointer is over it."""
    content = tag("title", escape(note)) if note else ""
    return tag("circle", content, cx=centre[0], cy=centre[1], r=radius, class_=class_)


def polyline(points: Iterable[Point], class_: str) -> str:
    """A line through the points."""
    return tag("polyline", points=" ".join(f"{_value(x)},{_value(y)}" for x, y in points), class_=class_)


def sideways(start: Point, end: Point, class_: str) -> str:
    """An S-shaped line that leaves and arrives horizontally."""
    middle = (start[0] + end[0]) / 2
    path = f"M{_value(start[0])} {_value(start[1])}C{_value(middle)} {_value(start[1])} "
    return tag("path", d=path + f"{_value(middle)} {_value(end[1])} {_value(end[0])} {_value(end[1])}", class_=class_)


def bow(start: Point, end: Point, bend: float, class_: str) -> str:
    """An arrow from start to end, bent by `bend` pixels to the right."""
    reach = max(start[0], end[0]) + bend
    path = f"M{_value(start[0])} {_value(start[1])}C{_value(reach)} {_value(start[1])} "
    curve = path + f"{_value(reach)} {_value(end[1])} {_value(end[0])} {_value(end[1])}"
    return tag("path", d=curve, class_=class_, marker_end="url(#arrow)")


def arc(start: Point, end: Point, sag: float, class_: str) -> str:
    """An arrow from start to end that hangs `sag` pixels below the straight line."""
    third = (end[0] - start[0]) / 3
    near, far = (start[0] + third, start[1] + sag), (end[0] - third, end[1] + sag)
    path = f"M{_value(start[0])} {_value(start[1])}C{_value(near[0])} {_value(near[1])} "
    curve = path + f"{_value(far[0])} {_value(far[1])} {_value(end[0])} {_value(end[1])}"
    return tag("path", d=curve, class_=class_, marker_end="url(#arrow)")


def arrowhead() -> str:
    """The definition of the head of `bow`'s arrows; once per page."""
    head = tag("path", d="M0 0L8 4L0 8z", class_="arrowhead")
    size = {"markerWidth": 6, "markerHeight": 6, "orient": "auto-start-reverse"}
    return tag("defs", tag("marker", head, id="arrow", viewBox="0 0 8 8", refX=7, refY=4, **size))


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return escape(str(value))
