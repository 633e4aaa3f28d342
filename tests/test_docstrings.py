"""Every public constructor shows how it is called, in lines that are run as a test."""

import ast
from pathlib import Path

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
    if file.startswith("zoo/data/"):
        return "encode" in methods or bool(bases & ABSTRACT)
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
