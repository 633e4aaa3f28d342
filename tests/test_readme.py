"""README.md keeps its word: its Python runs, and CI runs its test command."""

import re
import traceback
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def code_blocks(markdown: str, *languages: str) -> list[tuple[int, str]]:
    """Returns (line number, text) of every fenced block in one of the languages."""
    fence = re.compile(
        rf"^```(?:{'|'.join(languages)})\n(.*?)^```$", re.MULTILINE | re.DOTALL
    )
    return [
        (markdown.count("\n", 0, found.start(1)) + 1, found[1])
        for found in fence.finditer(markdown)
    ]


def run_python(markdown: str, name: str) -> int:
    """Runs all Python blocks in one namespace; returns how many there were."""
    namespace = {"__name__": "readme"}
    blocks = code_blocks(markdown, "python")
    for line, block in blocks:
        # Line breaks in front make a traceback point at the line of the README.
        code = compile("\n" * (line - 1) + block, name, "exec")
        try:
            exec(code, namespace)
        except Exception:
            pytest.fail(f"{name}, the block at line {line}:\n{traceback.format_exc()}")
    return len(blocks)


def pytest_commands(shell: str) -> list[str]:
    """Returns every command of a shell text that starts pytest."""
    commands = (part.split("#")[0].strip() for part in re.split(r"\n|&&|;", shell))
    return [x for x in commands if re.match(r"(python -m )?pytest\b", x)]


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "docs/start.md"])
def test_the_python_of_the_documents_runs(name, tmp_path, monkeypatch):
    text = (ROOT / name).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_python(text, name) > 0


def test_no_other_document_has_python():
    named = {"README.md", "docs/start.md"}
    files = [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("experiments/*/*.md")]
    for path in files:
        if code_blocks(path.read_text(encoding="utf-8"), "python"):
            assert str(path.relative_to(ROOT)) in named


def test_ci_runs_the_test_command_of_the_readme():
    shell = "\n".join(block for _, block in code_blocks(readme(), "bash", "sh"))
    assert pytest_commands(shell), "README.md names no pytest command"
    in_ci = pytest_commands((ROOT / ".ci/run").read_text())
    assert pytest_commands(shell)[:1] == in_ci[:1]


def result_rows(markdown: str) -> list[tuple[str, str]]:
    """Returns (command, score) of every row whose first cell is a command."""
    row = re.compile(r"^\| `(train[^`]*)` \| (.*)$", re.MULTILINE)
    return [
        (found[1].split(" --data.folder")[0], found[2].split(" |")[0])
        for found in row.finditer(markdown)
    ]


def test_the_results_of_the_docs_are_those_beside_the_commands():
    told = [
        line
        for path in (ROOT / "experiments").glob("*/README.md")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    rows = result_rows((ROOT / "docs/results.md").read_text(encoding="utf-8"))
    assert len(rows) > 10
    for command, score in rows:
        same = [line for line in told if f"| `{command}` |" in line]
        assert any(f"| {score} |" in line for line in same), (command, score, same)


def test_blocks_share_one_namespace_and_other_languages_are_left_alone():
    markdown = (
        "```python\na = 2\n```\n\n```bash\nrm x\n```\n\n```python\nassert a == 2\n```\n"
    )
    assert run_python(markdown, "example") == 2


def test_a_failing_block_is_named_by_its_line():
    with pytest.raises(pytest.fail.Exception, match=r"line 3(.|\n)*line 4"):
        run_python("\n```python\nb = 1\nassert b == 2\n```\n", "example")


def test_a_test_command_ends_where_the_next_command_begins():
    text = "pip install -e '.[test]' && pytest -n 2\n# pytest alone\npytest -x  # why\n"
    assert pytest_commands(text) == ["pytest -n 2", "pytest -x"]
