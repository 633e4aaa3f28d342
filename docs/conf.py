"""Settings of the documentation; `sphinx-build -W docs docs/_build` builds it."""

import importlib
import pkgutil
import shutil
from pathlib import Path

import zoo

project = "attention-zoo"
author = "the attention-zoo developers"
release = zoo.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "sphinx_book_theme"
html_title = "attention-zoo"
exclude_patterns = ["_build"]
# Notebooks are executed by CI, which reads their output; here they are read.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
napoleon_use_ivar = True  # a field is described once
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {
    "members": True,
    "show-inheritance": False,
    "exclude-members": "setup",  # Flax's own
}
suppress_warnings = ["myst.header"]


def _modules() -> list[str]:
    """Returns the names of all modules of the zoo."""
    found = pkgutil.walk_packages(zoo.__path__, "zoo.")
    return ["zoo", *sorted(module.name for module in found)]


def _handed_on(name: str) -> list[str]:
    """Returns a line about what a package offers and another module makes."""
    package = importlib.import_module(name)
    offered = [getattr(package, x) for x in getattr(package, "__all__", ())]
    made = [
        f"{x.__module__}.{x.__qualname__}"
        for x in offered
        if hasattr(x, "__qualname__")
    ]
    links = [f":obj:`~{x}`" for x in made if x.rpartition(".")[0] != name]
    return [f"`{name}` has, too: {', '.join(links)}.", ""] if links else []


def _write_api(app) -> None:
    """Writes a page for every part of the zoo, so that none can be forgotten."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    parts: dict[str, list[str]] = {}
    for name in _modules():
        parts.setdefault(".".join(name.split(".")[:2]), []).append(name)
    for part, names in parts.items():
        lines = [part, "=" * len(part), ""]
        for name in names:
            if name != part:
                lines += [name, "-" * len(name), ""]
            lines += [f".. automodule:: {name}", "   :ignore-module-all:", ""]
            lines += _handed_on(name)
        (folder / f"{part}.rst").write_text("\n".join(lines))


def _copy_notebooks(app) -> None:
    """Brings the notebooks under the folder that Sphinx reads."""
    folder = Path(app.srcdir) / "notebooks"
    folder.mkdir(exist_ok=True)
    for notebook in Path(app.srcdir).parent.glob("notebooks/*.ipynb"):
        shutil.copy(notebook, folder)


def setup(app) -> None:
    """Lets Sphinx make the pages that stand nowhere else before it reads any."""
    app.connect("builder-inited", _write_api)
    app.connect("builder-inited", _copy_notebooks)
