"""Torch models of BART's kinds, and what the tests of each compare with them."""

import pytest

import zoo
from tests.pretrained.reversal import (
    HELD_OUT,
    differences,
    generate,
    learn,
    num_reversed,
)

SIZES = {
    "d_model": 32,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "max_position_embeddings": 64,
    "init_std": 0.2,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
VARIED = ["ba de", "  two  spaces ", "ba, de.", "é 한 👍🏽", "gi</s>ba", "a" * 50]


def their_model(kind, vocab_size, **changed):
    """Returns a torch model that is drawn at random."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    names = {"bart": "Bart", "mbart": "MBart", "m2m_100": "M2M100"}
    options = {**SIZES, "vocab_size": vocab_size, "decoder_start_token_id": 2}
    options |= {"scale_embedding": kind != "bart"}
    options |= {"activation_function": "relu" if kind == "m2m_100" else "gelu"}
    config = getattr(transformers, f"{names[kind]}Config")(**options | changed)
    torch.manual_seed(0)
    make = getattr(transformers, f"{names[kind]}ForConditionalGeneration")
    return make(config)


def learned(kind, tokenizer, start, folder):
    """Returns a model that has learned to reverse, its tokenizer, and their directory.

    Args:
        start: the token that every text begins with that it writes.
    """

    def encode_targets(text):
        rows = tokenizer(text)["input_ids"]
        return [[start, *row[1:]] for row in rows]

    model = their_model(kind, len(tokenizer))
    learn(model, lambda text: tokenizer(text)["input_ids"], encode_targets)
    model.generation_config.forced_bos_token_id = start
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    return model, tokenizer, folder


def same_strings(reverser, beam_size):
    """Returns our translator and what it found, which Hugging Face has found too."""
    # They count the language in the length of a sentence, we do not.
    *theirs, folder = reverser
    expected, translator = generate(*theirs, HELD_OUT, beam_size), zoo.load(folder)
    options = {"length_penalty": 0.6, "max_length": 40}
    found = translator.translate(HELD_OUT, beam_size=beam_size, **options)
    best = [hypotheses[0] for hypotheses in found]
    assert num_reversed(expected, HELD_OUT) > 10
    assert len(differences([one.text for one in best], expected)) <= 2
    return translator, best
