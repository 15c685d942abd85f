"""One self-contained HTML page: templates, figures and the code that draws them in one file.

A page asks nothing of any server: its policy forbids that, and a browser keeps it. Vega-Lite draws the
figures in the browser, so that values show on hover; the same specifications become SVG and PNG for papers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from dami_merge._version import __version__
from dami_merge.errors import DamiMergeError

if TYPE_CHECKING:
    import altair as alt

_INSTALL = "pip install 'dami-merge[report]'"
_LESS_THAN = "\\u003c"


@dataclass(frozen=True, slots=True)
class Figure:
    """One picture.

    Attributes:
        name: Short, for file names and anchors: `frontier`.
        title: One line over it.
        caption: How to read it, a sentence or two under it.
        spec: Vega-Lite, as JSON types.
    """

    name: str
    title: str
    caption: str
    spec: Mapping[str, object]


def figure(name: str, title: str, caption: str, chart: "alt.TopLevelMixin") -> Figure:
    """A chart with what stands around it; what is not finite becomes null, which is not drawn.

    Raises:
        altair.SchemaValidationError: The chart is none.
    """
    return Figure(name, title, caption, msgspec.json.decode(msgspec.json.encode(chart.to_dict())))


def plotting() -> Any:
    """The altair module.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    try:
        import altair as alt
        import jinja2  # noqa: F401 - what is missing is said at once
        import vl_convert  # noqa: F401 - likewise
    except ImportError as error:
        message = f"a page needs {error.name}, which is not installed"
        raise DamiMergeError(message, hint=_INSTALL) from error
    return alt


def render(template: str, *, title: str, values: Mapping[str, object], figures: tuple[Figure, ...]) -> str:
    """Fill a template of this package.

    Args:
        template: Its file name in `templates/`; extends `page.html`.
        title: Of the browser's tab and of the page.
        values: By name; text is escaped.
        figures: Drawn where the template says `figure("name")`.

    Returns:
        The page, about 1 MB, most of it the code that draws.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    plotting()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def code(sentence: str) -> Markup:
        """Words between backticks as code; all of it escaped."""
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
        specs=Markup(specs.replace("<", _LESS_THAN)),  # noqa: S704 - JSON, and no tag can begin in it
        drawing=Markup(_drawing_code()),  # noqa: S704 - the library's own code
    )


@cache
def _drawing_code() -> str:
    """Vega, Vega-Lite and vega-embed as one script that defines `vegaEmbed`."""
    import vl_convert

    code: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return code.replace("</script", "<\\/script")


def svg(each: Figure) -> str:
    """A figure for a paper, as SVG; needs no browser."""
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(_fixed(each))
    return text


def png(each: Figure, *, scale: float = 2) -> bytes:
    """A figure as PNG, `scale` pixels for each unit of the specification."""
    import vl_convert

    data: bytes = vl_convert.vegalite_to_png(_fixed(each), scale=scale)
    return data


def _fixed(each: Figure) -> dict[str, object]:
    """On paper there is no container whose width a figure could take."""
    spec = dict(each.spec)
    if spec.get("width") == "container":
        spec["width"] = 560
    return {**spec, "background": "white"}
