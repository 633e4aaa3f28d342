"""The tokenizers of BART, mBART-50, NLLB-200 and M2M100, and their languages.

The first three have a tokenizer.json. M2M100 has a sentencepiece model and a table of
its pieces, and names of languages in the library that wrote them.
"""

from typing import Any

from zoo.data import json_tokens, m2m100_tokens
from zoo.data.json_tokens import JsonTokenizer
from zoo.data.language_tokens import LanguageTokens
from zoo.data.m2m100_tokens import M2M100Tokenizer
from zoo.errors import InputError, unknown
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import agree, integer
from zoo.pretrained.generation import settings

OPTIONS = "tokenizer_config.json"


def load_tokenizer(directory: Directory) -> LanguageTokens:
    """Returns the tokenizer of a directory, with the languages that it is set to.

    What is read is in the language that tokenizer_config.json names or the tokenizer
    itself begins with; what is written in that of the search's settings. Without
    languages both sides begin alike.

    Raises:
        InputError: there is none, or it is damaged.
    """
    options = directory.read_json(OPTIONS) if directory.has(OPTIONS) else {}
    size, own_start = integer(directory, "vocab_size"), None
    if directory.has(name := json_tokens.FILE):
        where = str(directory.root / name)
        tokens = JsonTokenizer(directory.read(name), size, where=where)
        own_start = tokens.own_start()
    elif directory.config["model_type"] == "m2m_100" and directory.has(
        name := m2m100_tokens.TABLE
    ):
        tokens = M2M100Tokenizer(
            directory.read(m2m100_tokens.MODEL),
            directory.read(name),
            size,
            codes=str(options.get("language_codes", "m2m100")),
            where=str(directory.root),
        )
    else:
        raise _no_tokens(directory)
    agree(directory, "pad_token_id", tokens.pad_id, name)
    agree(directory, "eos_token_id", tokens.eos_id, name)
    source = _named_start(directory, options, tokens.languages) or own_start
    target = _forced_start(directory, size)
    if target is None and not tokens.languages:
        target = source
    return tokens.starting(source, target)


def _named_start(
    directory: Directory, options: dict[str, Any], languages: dict[str, int]
) -> list[int] | None:
    """Returns the language of what is read, None where nothing is said."""
    if not languages:
        return None
    if options.get("legacy_behaviour"):
        raise InputError(
            f"{directory.root / OPTIONS}: legacy_behaviour puts the language behind "
            "the text; a model that was trained with it before the text needs false "
            "there"
        )
    if (language := options.get("src_lang")) is None:
        return None
    language = str(language)[:80]
    if language not in languages:
        raise unknown(f"src_lang in {directory.root}", language, languages)
    return [languages[language]]


def _forced_start(directory: Directory, vocab_size: int) -> list[int] | None:
    """Returns what every translation begins with, None where nothing is said."""
    name, values = settings(directory)
    forced = values.get("forced_bos_token_id")
    if forced is None:
        return None
    if type(forced) is not int or not 0 <= forced < vocab_size:
        raise InputError(
            f"{directory.root / name}: forced_bos_token_id is {str(forced)[:80]}, "
            f"which is none of {vocab_size} tokens"
        )
    return [forced]


def _no_tokens(directory: Directory) -> InputError:
    source, target = directory.origin()
    return InputError(
        f'{directory.root}: no {json_tokens.FILE}; write it with python -c "import '
        f"transformers; transformers.AutoTokenizer.from_pretrained('{source}')"
        f".save_pretrained('{target}')\""
        + (f", add the model's files and give {target}" if source != target else "")
    )
