"""Sentences to reverse, and models of Hugging Face's that a test trains to do so.

A model that is trained for seconds ends its sentences, and not without doubts, so that
two searches can be compared by what they write.
"""

import numpy as np

WORDS = [f"{a}{b}" for a in "bdfgkl" for b in ("a", "e", "i", "o")]
LENGTHS = range(1, 8)


def sentences(rng, count):
    lengths = rng.integers(LENGTHS.start, LENGTHS.stop, count)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def reverse(sentence):
    return " ".join(reversed(sentence.split()))


# Of varied length; no training has seen them.
HELD_OUT = sentences(np.random.default_rng(2), 50)


def best(translator, text, beam_size=4):
    """Returns the best translation of each sentence, as all peers are asked for it."""
    found = translator.translate(
        text, beam_size=beam_size, length_penalty=0.6, max_length=40
    )
    return [hypotheses[0].text for hypotheses in found]


def differences(found, expected):
    """Returns the pairs of strings that are not the same."""
    return [pair for pair in zip(found, expected, strict=True) if len({*pair}) > 1]


def tuning(source, folder):
    """Returns the arguments of two tiny updates that begin with a directory.

    Args:
        folder: for the sentences and the run, `folder / "run"`.
    """
    corpus = folder / "corpus"
    corpus.mkdir()
    for split in ("train", "val", "test"):
        for language, lines in (("de", HELD_OUT), ("en", map(reverse, HELD_OUT))):
            (corpus / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    options = "--training.num-steps=2 --training.tokens-per-batch=800 "
    options += "--training.num-buckets=1 --optimizer.learning-rate=1e-6 "
    options += "--optimizer.warmup-steps=1 --data.max-length=40"
    return [
        "files",
        f"--init-from={source}",
        f"--data.folder={corpus}",
        f"--workdir={folder / 'run'}",
        *options.split(),
    ]


def num_reversed(found, text):
    return sum(a == reverse(b) for a, b in zip(found, text, strict=True))


def learn(model, encode, encode_targets, num_steps=150, learning_rate=1e-2):
    """Trains a torch model to reverse; returns it.

    Args:
        encode: sentences to the ids that it reads, special ones included.
        encode_targets: to those that it writes after the start token.
    """
    import torch

    def padded(rows, fill):
        width = max(map(len, rows))
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])

    torch.set_num_threads(1)  # more would wait for each other
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, num_steps)
    pad_id, start_id = model.config.pad_token_id, model.config.decoder_start_token_id
    rng = np.random.default_rng(1)
    for _ in range(num_steps):
        text = sentences(rng, 48)
        source = padded(encode(text), pad_id)
        targets = encode_targets([*map(reverse, text)])
        logits = model(
            input_ids=source,
            attention_mask=source != pad_id,
            decoder_input_ids=padded([[start_id, *x[:-1]] for x in targets], pad_id),
        ).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), padded(targets, -100).flatten(), label_smoothing=0.05
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def generate(model, tokenizer, text, beam_size=4, **options):
    """Returns what a model of Hugging Face's writes, as `best` asks for it."""
    import torch

    batch = tokenizer(text, return_tensors="pt", padding=True)
    with torch.no_grad():
        tokens = model.generate(
            **batch, num_beams=beam_size, length_penalty=0.6, max_length=41, **options
        )
    return tokenizer.batch_decode(tokens, skip_special_tokens=True)
