"""Who may import whom, read from the source with `ast`: nothing here is imported.

Two tables say it all: `MAY_IMPORT` for our own modules, `HOST_ONLY` for those that
name JAX nowhere and reach it through nothing they import, so that `--help` is instant
and the workers that load data stay light.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("zoo", "experiments", "tests", "benchmarks", "notebooks")

# The longest name that covers a module is its row: it may import the names there, all
# below them, and `FOR_ALL`.
MAY_IMPORT = {
    "zoo": ("zoo",),  # the front door: create_model, list_models, load
    "zoo.errors": (),
    "zoo.files": (),
    "zoo.layers": ("zoo.layers",),
    "zoo.models": ("zoo.layers", "zoo.models"),
    "zoo.models.configs": (),
    "zoo.models.visual_configs": (),
    "zoo.losses": ("zoo.layers.masks",),
    "zoo.decoding": ("zoo.decoding",),
    "zoo.laws": ("zoo.models.contract",),
    "zoo.visual_laws": ("zoo.models.contract", "zoo.models.visual_contract"),
    "zoo.serving": ("zoo.decoding",),
    "zoo.spreading": (),
    "zoo.metrics": ("zoo.data.answers",),
    "zoo.vqa_metrics": ("zoo.data.answers",),
    "zoo.grounding": (),
    "zoo.plots": (),
    "zoo.looks": ("zoo.grounding",),
    "zoo.overlays": ("zoo.plots", "zoo.grounding", "zoo.looks"),
    "zoo.viewer": ("zoo.viewer", "zoo.plots", "zoo.grounding", "zoo.looks"),
    "zoo.visual.images": ("zoo.data.vqa",),
    "zoo.checkpoints": ("zoo.checkpoint_files", "zoo.checkpoint_steps"),
    "zoo.checkpoint_steps": ("zoo.checkpoint_files",),
    "zoo.checkpoint_files": (),
    "zoo.data": ("zoo.data",),
    "zoo.training": (
        "zoo.training",
        "zoo.losses",
        "zoo.data",
        "zoo.checkpoints",
        "zoo.checkpoint_steps",
    ),
    "zoo.pretrained": (
        "zoo.pretrained",
        "zoo.layers",
        "zoo.models",
        "zoo.data",
        "zoo.catalogue",
        "zoo.translation.options",
    ),
    "zoo.pretrained.directory": (),
    "zoo.catalogue": ("zoo.models", "zoo.layers.vision"),
    "zoo.translation": (
        "zoo.translation",
        "zoo.catalogue",
        "zoo.models",
        "zoo.decoding",
        "zoo.data",
        "zoo.pretrained",
        "zoo.runs",
        "zoo.spreading",
    ),
    "zoo.visual": (
        "zoo.visual",
        "zoo.catalogue",
        "zoo.models",
        "zoo.decoding",
        "zoo.data",
        "zoo.pretrained",
        "zoo.runs",
        "zoo.spreading",
    ),
    "zoo.runs": (
        "zoo.checkpoints",
        "zoo.checkpoint_steps",
        "zoo.packing",
        "zoo.training.records",
    ),
    "zoo.packing": (
        "zoo.checkpoint_files",
        "zoo.pretrained.parameters",
        "zoo.training.records",
    ),
    "zoo.translation.options": (),
    "zoo.translation.alignment": (),
    "experiments": (),
    "experiments.command": ("zoo",),  # how every command ends
    "experiments.translate": ("zoo", "experiments.command", "experiments.translate"),
    "experiments.vqa": ("zoo", "experiments.command", "experiments.vqa"),
    "experiments.demo": ("zoo", "experiments"),
    "benchmarks": ("zoo", "benchmarks", "experiments.command"),
    # The recipe of an experiment, made ready for a machine that has no text, and the
    # beginning of one.
    "benchmarks.accelerators.prepare": (
        "zoo",
        "benchmarks",
        "experiments.command",
        "experiments.translate",
    ),
    "benchmarks.dropout": (
        "zoo",
        "benchmarks",
        "experiments.command",
        "experiments.translate",
    ),
    "benchmarks.exported": (
        "zoo",
        "benchmarks",
        "experiments.command",
        "experiments.translate",
    ),
    "notebooks": ("zoo", "experiments"),
    "tests": ("zoo", "experiments", "benchmarks", "tests"),
}
# These rows cover nothing below them, so that a new part of the zoo asks for its own.
ALONE = ("zoo", "experiments")

# What every module may import beside its row.
FOR_ALL = ("zoo.errors", "zoo.files")

HOST_ONLY = (
    *FOR_ALL,
    "zoo.data",
    "zoo.metrics",
    "zoo.vqa_metrics",
    "zoo.grounding",
    "zoo.plots",
    "zoo.looks",
    "zoo.overlays",
    "zoo.viewer",
    "zoo.visual.images",
    "zoo.translation.alignment",
    "zoo.translation.options",
    "zoo.models.configs",
    "zoo.models.visual_configs",
)
JAX = ("jax", "jaxlib", "flax", "optax", "orbax", "tensorstore", "chex")


def is_below(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def rule_of(module: str) -> tuple[str, ...] | None:
    """Returns the row of MAY_IMPORT that covers a module, None if there is none."""
    names = [
        name
        for name in MAY_IMPORT
        if module == name or (is_below(module, name) and name not in ALONE)
    ]
    return MAY_IMPORT[max(names, key=len)] if names else None


def imported(nodes: Iterator[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yields (line, name) of each import: `from a import b` is a.b, relative is .b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (f"{node.module}." if node.module else "")
            yield from ((node.lineno, base + alias.name) for alias in node.names)


def is_host_only(module: str) -> bool:
    return any(is_below(module, name) for name in HOST_ONLY)


def violations(module: str, source: str) -> list[str]:
    """Returns the imports of a module, at any depth, that the tables do not allow."""
    row = rule_of(module)
    if row is None:
        return [f"{module} has no row in MAY_IMPORT"]
    found = []
    for line, name in imported(ast.walk(ast.parse(source))):
        top = name.split(".")[0]
        ours = top in OURS and not any(is_below(name, x) for x in (*row, *FOR_ALL))
        relative = name.startswith(".")
        if ours or relative or (top in JAX and is_host_only(module)):
            found.append(f"{module}:{line} imports {name}")
    return found


def at_import_time(tree: ast.Module) -> Iterator[ast.AST]:
    """Yields the nodes that run when a module is imported, no body of a function."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))


def path_to_jax(module: str, sources: dict[str, str]) -> list[str]:
    """Returns the chain of imports from a module to JAX, empty if there is none."""
    pending, seen = [[module]], set()
    while pending:
        chain = pending.pop(0)
        name = chain[-1]
        if any(is_below(name, library) for library in JAX):
            return chain
        # Importing a.b.c runs a and a.b too; in `from a import b`, b may be no module.
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            parent = ".".join(parts[:end])
            if parent in sources and parent not in seen:
                seen.add(parent)
                nodes = at_import_time(ast.parse(sources[parent]))
                trail = chain if parent == name else [*chain, parent]
                pending.extend([*trail, x] for _, x in imported(nodes))
    return []


def our_sources() -> dict[str, str]:
    """Returns the source of each of our modules under its dotted name."""
    sources = {}
    for path in sorted(path for top in OURS for path in (ROOT / top).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = path.read_text(encoding="utf-8")
    return sources


def test_every_module_imports_only_what_its_row_allows():
    found = [x for name, text in our_sources().items() for x in violations(name, text)]
    assert not found, "\n".join(found)


def test_host_only_modules_reach_jax_by_no_path():
    sources = our_sources()
    chains = [path_to_jax(name, sources) for name in sources if is_host_only(name)]
    assert not any(chains), "\n".join(" -> ".join(chain) for chain in chains)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("zoo.layers.masks", "from zoo.models.transformer import Transformer"),
        ("zoo.layers.masks", "from ..models import transformer"),
        ("zoo.layers.masks", "import zoo"),
        ("zoo.models.transformer", "def build():\n    import zoo.decoding"),
        ("zoo.models.configs", "from zoo.models.transformer import Config"),
        ("zoo.models.configs", "import flax.linen as nn"),
        ("zoo.data.batches", "def put(x):\n    import jax.numpy as jnp"),
        ("zoo.training.loop", "from zoo import models"),
        ("zoo.training.loop", "from experiments.translate import train"),
        ("zoo.metrics", "from zoo.data import text"),
        ("zoo.decoding", "from zoo.models.transformer import Transformer"),
        ("zoo.new_thing", ""),
        ("experiments.translate.train", "import experiments.vqa.config"),
        ("experiments.translate.train", "import tests.conftest"),
        ("benchmarks.speed", "from experiments.translate import train"),
        ("zoo", "import notebooks.attention"),
    ],
)
def test_a_forbidden_import_is_found(module, source):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("zoo.layers.masks", "import jax\nfrom zoo.errors import InputError"),
        ("zoo.models.transformer", "from zoo.layers import masks"),
        ("zoo.training.loop", "from zoo.data import batches"),
        ("zoo.metrics", "from zoo.data.answers import normalise"),
        (
            "experiments.translate.train",
            "from zoo import load\nfrom experiments.translate import plot",
        ),
        ("tests.test_x", "import zoo.layers, experiments.translate.train"),
    ],
)
def test_an_allowed_import_is_not_reported(module, source):
    assert violations(module, source) == []


@pytest.mark.parametrize(
    "package",
    [
        "from zoo.layers import masks",
        "class A:\n    import jax",
        "import zoo.layers.masks",
    ],
)
def test_a_hidden_path_to_jax_is_found(package):
    # `import zoo.data.text` runs zoo/data/__init__.py first.
    sources = {
        "zoo.data": package,
        "zoo.data.text": "",
        "zoo.layers.masks": "import jax",
    }
    assert path_to_jax("zoo.data.text", sources)[-1] == "jax"


@pytest.mark.parametrize(
    "package",
    [
        "def load():\n    import jax",
        "if TYPE_CHECKING:\n    import jax",
        "from zoo.data.text import read",
    ],
)
def test_an_import_that_does_not_run_is_no_path_to_jax(package):
    assert path_to_jax("zoo.data", {"zoo.data": package, "zoo.data.text": ""}) == []
