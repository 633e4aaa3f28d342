"""Translates a run's test set with CTranslate2, from the directory that we export.

The run is written as a Marian directory of Hugging Face, CTranslate2's own converter
reads it, and both search with the run's own beam and length penalty. Printed are the
BLEU of both, by the same sacreBLEU, and how many sentences differ.

Of a beam of W, CTranslate2 leaves a sentence once W hypotheses have ended, or W times
its `patience`; ours, once none that goes on scores above the worst of W that ended. So
it is asked with its default and with more.

    python -m benchmarks.exported DIR
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.command import run

if TYPE_CHECKING:
    from experiments.translate.config import DecodingConfig

OUTPUT = Path("runs/benchmarks/exported.json")
PATIENCE = (1, 2)


def translate_by_ctranslate2(
    exported: Path,
    sentences: Sequence[str],
    decoding: "DecodingConfig",
    max_length: int,
) -> dict[int, list[str]]:
    """Returns the best translations of an exported directory by patience, float32.

    Args:
        exported: as `zoo.save_pretrained` writes it.
        max_length: of a translation in subwords.
    """
    os.environ["CT2_USE_MKL"] = "0"
    import ctranslate2

    import zoo

    tokenizer = zoo.from_pretrained(exported)[2]
    table = tokenizer.piece_table()
    number = {piece: place for place, piece in enumerate(table)}
    pieces = [
        [*(table[token] for token in tokens), "</s>"]
        for tokens in tokenizer.encode(sentences)
    ]
    with tempfile.TemporaryDirectory() as folder:
        converter = ctranslate2.converters.TransformersConverter(str(exported))
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # Moses
            converted = converter.convert(str(Path(folder) / "converted"))
        translator = ctranslate2.Translator(
            converted,
            inter_threads=1,
            intra_threads=len(os.sched_getaffinity(0)),
            compute_type="float32",
        )
        translate = partial(
            translator.translate_batch,
            pieces,
            max_batch_size=64,
            beam_size=decoding.beam_size,
            length_penalty=decoding.length_penalty,
            max_decoding_length=max_length,
        )
        found = {patience: translate(patience=patience) for patience in PATIENCE}
    return {
        patience: tokenizer.decode(
            [[number[piece] for piece in result.hypotheses[0]] for result in results]
        )
        for patience, results in found.items()
    }


def compare(workdir: Path, output: Path) -> None:
    """Prints and writes the scores of a run's test set, ours and by CTranslate2."""
    import zoo
    from experiments.translate.config import DecodingConfig, data_from_json
    from experiments.translate.corpus import load
    from experiments.translate.scoring import score, translate_all
    from zoo.runs import read_section, read_seed
    from zoo.training.records import environment, write_json

    translator = zoo.load(workdir)
    decoding = DecodingConfig(**read_section(workdir, "decoding"))
    data = data_from_json(read_section(workdir, "data"))
    text = load(data, "test", read_seed(workdir))
    sentences = text.source
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "exported"
        zoo.save_pretrained(
            translator.model,
            translator.params,
            translator.tokenizer,
            exported,
            max_length=translator.max_length,
            defaults=translator.defaults,
        )
        theirs = translate_by_ctranslate2(
            exported, sentences, decoding, translator.max_length
        )
    ours = translate_all(translator, sentences, decoding)

    def bleu(translations):
        how = {"lowercase": data.lowercase, "tokenize": data.bleu_tokenize}
        return score(text, translations, **how).bleu

    print(f"{len(sentences):,} sentences, BLEU {bleu(ours):.2f}")
    found = {}
    for patience, translations in theirs.items():
        different = sum(a != b for a, b in zip(ours, translations, strict=True))
        found[patience] = {"bleu": bleu(translations), "different": different}
        print(
            f"CTranslate2, patience {patience}: {found[patience]['bleu']:.2f}; "
            f"{different} sentences differ"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    result = {"n": len(sentences), "bleu": bleu(ours), "ctranslate2": found}
    write_json(output, {"environment": environment(), **result})


def main(arguments: list[str]) -> None:
    """Compares as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exported",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="folder of a run")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    asked = parser.parse_args(arguments)
    compare(asked.model, asked.output)


if __name__ == "__main__":
    run(main)
