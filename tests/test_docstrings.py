"""What the documentation of the API must hold, and that it holds all public names.

Every public constructor shows how it is called, in lines that are run as a test.
"""

import ast
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What their subclasses share; nobody makes one.
ABSTRACT = {
    "StateAttention",
    "VisualClassifier",
    "Source",
    "VisualSource",
    "LanguageTokens",
}
ALONE = {
    "zoo/checkpoints.py": ("Checkpoints",),
    "zoo/data/vqa/examples.py": ("VisualQuestions",),
    "zoo/data/vqa/resizing.py": ("Squash", "CropCentre", "FitMultiples"),
    "zoo/looks.py": ("Seen",),
    "zoo/decoding/ensemble.py": ("Ensemble",),
    "zoo/translation/options.py": ("Constraints", "Sampling"),
    "zoo/translation/translator.py": ("Translator",),
    "zoo/visual/answerer.py": ("VisualAnswerer",),
}


def is_constructor(file: str, node: ast.ClassDef) -> bool:
    """Returns whether a class is a module, a reader, a tokenizer or in ALONE."""
    bases = {ast.unparse(base) for base in node.bases}
    methods = {x.name for x in node.body if isinstance(x, ast.FunctionDef)}
    if node.name.startswith("_") or bases & {"Protocol", "NamedTuple"}:
        return False
    if file.startswith(("zoo/layers/", "zoo/models/")):
        return not node.name.endswith("Config")
    if file.startswith("zoo/data/") and ("encode" in methods or bases & ABSTRACT):
        return True
    return node.name in ALONE.get(file, ())


def constructors() -> dict[str, str]:
    """Returns the docstring of every public constructor."""
    found = {}
    for path in sorted((ROOT / "zoo").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and is_constructor(file, node):
                found[f"{file} {node.name}"] = ast.get_docstring(node) or ""
    return {x: doc for x, doc in found.items() if x.split()[1] not in ABSTRACT}


CONSTRUCTORS = constructors()


def test_the_list_holds_what_it_should():
    names = {name.split()[1] for name in CONSTRUCTORS}
    for name in ("Transformer", "MultiHeadAttention", "Vilt", "PhrasesData"):
        assert name in names
    for name in ("Tokenizer", "WordPieces", "ClevrData", "Translator", "Ensemble"):
        assert name in names
    assert not names & {"Seq2Seq", "Memory", "TransformerConfig", "ImageEncoder"}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_a_public_constructor_has_a_doctest(name):
    doc = CONSTRUCTORS[name]
    assert ">>> " in doc, f"{name}: show how it is called, in two or three lines"
    assert f"{name.split()[1]}" in doc or "build(" in doc


def of_module(module: ModuleType) -> dict[str, object]:
    """Returns the public functions and classes that a module makes."""
    return {
        name: member
        for name, member in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(member) or inspect.isroutine(member))
        and getattr(member, "__module__", None) == module.__name__
    }


@pytest.fixture(scope="module")
def settings():
    """Sphinx's settings, without Sphinx."""
    spec = importlib.util.spec_from_file_location("conf", ROOT / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    return conf


def test_the_api_has_every_public_name(settings, tmp_path):
    settings._write_api(SimpleNamespace(srcdir=str(tmp_path)))
    pages = "".join(x.read_text() for x in sorted((tmp_path / "api").iterdir()))
    written = set(re.findall(r"automodule:: (\S+)", pages))
    files = (x.relative_to(ROOT).with_suffix("") for x in (ROOT / "zoo").rglob("*.py"))
    modules = {".".join(x.parts).removesuffix(".__init__") for x in files}
    assert written == modules
    for name in ("zoo.catalogue.create_model", "zoo.translation.options.Sampling"):
        assert f"`~{name}`" in pages  # what `zoo` hands on
    for name in sorted(modules):
        for member in of_module(importlib.import_module(name)).values():
            # Without, autodoc leaves it out.
            assert inspect.getdoc(member), f"{name}.{member.__qualname__}"


def documented(owner: type, name: str) -> bool:
    """Returns whether a method has a line, or a class says what its property is."""
    attribute = rf"^\s+{name}: "
    return bool(inspect.getdoc(getattr(owner, name))) or any(
        re.search(attribute, base.__doc__ or "", re.MULTILINE) for base in owner.__mro__
    )


def test_every_public_method_has_a_first_line(settings):
    bare = [
        f"{owner.__module__}.{owner.__qualname__}.{name}"
        for module in map(importlib.import_module, settings._modules())
        for owner in of_module(module).values()
        if inspect.isclass(owner)
        for name, member in vars(owner).items()
        if not name.startswith("_")
        and (inspect.isroutine(member) or isinstance(member, property | classmethod))
        and not documented(owner, name)
    ]
    assert not bare, "\n".join(bare)


# They join what others compute, and are of no paper.
OF_NO_PAPER = {"Positions", "Projection", "ProjectedRegions", "VisualClassifier"}


def modules_of_flax() -> dict[str, str]:
    """Returns what is said of each public module, and of what it points at."""
    found = {}
    for path in sorted((ROOT / "zoo").glob("layers/*.py")) + sorted(
        (ROOT / "zoo").glob("models/*.py")
    ):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {
            node.name: ast.get_docstring(node) or ""
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
        }
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                if {"Protocol", "NamedTuple"} & {ast.unparse(x) for x in node.bases}:
                    continue
                named = re.findall(r"`(\w+)`", docs[node.name])
                beside = [docs[name] for name in named if name in docs]
                found[node.name] = " ".join(
                    [docs[node.name], ast.get_docstring(tree) or "", *beside]
                )
    return {
        name: text
        for name, text in found.items()
        if not name.endswith("Config") and name not in OF_NO_PAPER
    }


FLAX_MODULES = modules_of_flax()


@pytest.mark.parametrize("name", FLAX_MODULES)
def test_a_layer_or_a_model_says_where_it_is_from(name):
    assert re.search(r"\b(19|20)\d\d\b", FLAX_MODULES[name]), "paper and equation"
