"""Decoding: from probabilities to sentences, for every model that keeps the contract.

Every search is a pure function of (model, params, source), to be jitted by the caller;
each is one `jax.lax.while_loop` that ends when every sentence of the batch has. What a
sentence becomes does not depend on the others of its batch.

One scoring rule everywhere: the sum of the model's log p of the generated tokens, end
of sentence counted and a forced prefix not, divided by length^α (with α = 1 the mean).
So fairseq has it; Wu et al. (2016), section 7, divide by ((5 + length) / 6)^α, where
the same α means less. Rules, temperature and required phrases choose among sentences
and never change what one of them scores.

A search may write any token, padding and the start among them, which label smoothing
makes a little likely; the rule ``ban([model.pad_id, model.start_id], vocab_size)``
keeps it from them, and `zoo.translation` always has it.
"""

from zoo.decoding.beam import beam_search
from zoo.decoding.ensemble import Ensemble
from zoo.decoding.hypotheses import IMPOSSIBLE, Decodable, Hypotheses
from zoo.decoding.rules import (
    Rule,
    ban,
    force_end,
    no_repeated_ngrams,
    require_length,
    whole_words,
)
from zoo.decoding.sampling import greedy_search, sample
from zoo.decoding.scoring import score_pairs

__all__ = [
    "IMPOSSIBLE",
    "Decodable",
    "Ensemble",
    "Hypotheses",
    "Rule",
    "ban",
    "beam_search",
    "force_end",
    "greedy_search",
    "no_repeated_ngrams",
    "require_length",
    "sample",
    "score_pairs",
    "whole_words",
]
