"""One self-contained HTML page: templates, figures and the code that draws them, in one file.

A page makes no requests: its Content-Security-Policy forbids them, and browsers enforce it. Vega-Lite draws
the figures in the browser, so that values show on hover; the same specifications become SVG and PNG for
papers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from dami_merge._version import __version__
from dami_merge.optional import needed

if TYPE_CHECKING:
    import altair as alt

PAPER_WIDTH = 560
"""Width in pixels of what a figure plots, where it is not as wide as a page."""

_LESS_THAN = "\\u003c"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: Short name for files and anchors, such as `frontier`.
        title: One line above the figure.
        caption: How to read the figure, in a sentence or two below it.
        spec: Vega-Lite specification as JSON types.
    """

    name: str
    title: str
    caption: str
    spec: Mapping[str, object]


def figure(name: str, title: str, caption: str, chart: "alt.TopLevelMixin") -> Figure:
    """Put a title and a caption around a chart; non-finite values become null, which is not drawn.

    Raises:
        altair.SchemaValidationError: The chart is invalid.
    """
    return Figure(name, title, caption, msgspec.json.decode(msgspec.json.encode(chart.to_dict())))


def plotting() -> Any:
    """Import altair and return it.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    for module in ("jinja2", "vl_convert"):  # a missing package is reported at once
        needed(module, "a page", extra="report")
    return needed("altair", "a page", extra="report")


def render(template: str, *, title: str, values: Mapping[str, object], figures: tuple[Figure, ...]) -> str:
    """Fill a template of this package.

    Args:
        template: File name in `templates/`; the template extends `page.html`.
        title: Title of the browser tab and of the page.
        values: Values by name; text is escaped.
        figures: Figures, drawn where the template calls `figure("name")`.

    Returns:
        The page, about 1 MB, most of it drawing code.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    plotting()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def code(sentence: str) -> Markup:
        """Format words between backticks as code, and escape everything."""
        parts = map(escape, sentence.split("`"))
        return Markup("").join(
            Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
        )

    by_name = {each.name: each for each in figures}
    environment = Environment(
        loader=PackageLoader("dami_merge.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["code"] = code
    specs = json.dumps({each.name: each.spec for each in figures}, sort_keys=True)
    return environment.get_template(template).render(
        **values,
        title=title,
        version=__version__,
        figures=by_name,
        specs=Markup(specs.replace("<", _LESS_THAN)),  # noqa: S704 - JSON in which no tag can begin
        drawing=Markup(_drawing_code()),  # noqa: S704 - the library's own code
    )


@cache
def _drawing_code() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that defines `vegaEmbed`."""
    import vl_convert

    code: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return code.replace("</script", "<\\/script")


def svg(each: Figure) -> str:
    """Render a figure as SVG for a paper; needs no browser."""
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(_fixed(each))
    return text


def png(each: Figure, *, scale: float = 2) -> bytes:
    """Render a figure as PNG, with `scale` pixels for each unit of the specification."""
    import vl_convert

    data: bytes = vl_convert.vegalite_to_png(_fixed(each), scale=scale)
    return data


def _fixed(each: Figure) -> dict[str, object]:
    """Give a figure a title and a fixed width: on paper, there is no page around it."""
    spec = dict(each.spec)
    if spec.get("width") == "container":
        spec["width"] = PAPER_WIDTH
    title = {"text": each.title, "anchor": "start", "fontSize": 14, "offset": 12}
    return {**spec, "background": "white", "title": title}
