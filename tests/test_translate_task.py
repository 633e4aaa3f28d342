"""What a run of translation learns, with a model of one's own."""

from dataclasses import replace

from experiments.translate import task
from experiments.translate.config import PRESETS
from experiments.translate.corpus import prepare
from tests.decoding.models import Trigrams
from zoo.data.sources import PhrasesData


def test_a_model_of_ones_own_is_what_is_drawn_trained_and_validated(
    tmp_path, monkeypatch
):
    preset = PRESETS["phrases"][1]
    few = {"num_train": 60, "num_validation": 4, "num_test": 4}
    config = replace(
        preset,
        workdir=tmp_path,
        data=PhrasesData(**few, tokens="characters", max_length=128),
    )
    corpora = prepare(config)
    # Each says which model it was given.
    monkeypatch.setattr(task, "initialize", lambda model, *_: model)
    monkeypatch.setattr(task, "sequence_loss", lambda model, *_, **__: model)
    monkeypatch.setattr(task, "Validation", lambda *given: lambda: given[-1])
    model = Trigrams()
    learned = task.task(config, corpora, model=model)
    assert model is learned.init() is learned.loss() is learned.evaluate()
    model.start_id = 7
    first = next(iter(task.task(config, corpora, model=model).batches(0)))
    assert first["inputs"][0, 0] == 7
