"""Decoding: from probabilities to sentences, for every model that keeps the contract.

Every search is a pure function of (model, params, source), to be jitted by the caller;
each is one `jax.lax.while_loop` that ends when every sentence of the batch has. What a
sentence becomes does not depend on the others of its batch.

One scoring rule everywhere: the sum of the model's log p of the generated tokens, end
of sentence counted and a forced prefix not, divided by length^α (with α = 1 the mean;
Wu et al. 2016, section 7, without their coverage term). Rules, temperature and required
phrases choose among sentences and never change what one of them scores.
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
