"""What training begins with, if not with random numbers: a model and its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.translate.config import Config
from zoo.catalogue import config_from_json
from zoo.checkpoint_steps import SavedSteps
from zoo.data.text_tokens import TextTokens
from zoo.errors import InputError
from zoo.models.configs import ModelConfig
from zoo.pretrained.generation import UNLIKELY, search_defaults, without_padding
from zoo.pretrained.loading import family_of, find, load_translator
from zoo.runs import has_run, read_config, read_search, read_section
from zoo.training.optimizers import is_learned
from zoo.translation.options import Defaults
from zoo.translation.translator import Translator


@dataclass(frozen=True)
class Initial:
    """A trained model: its configuration, parameters and tokenizer.

    Attributes:
        defaults: how the others search; None for a model of ours.
    """

    config: ModelConfig
    params: Any
    tokenizer: TextTokens
    defaults: Defaults | None


def refuse_sizes(arguments: Sequence[str]) -> None:
    """Raises InputError if a command line changes a model that comes from elsewhere."""
    changed = [x.partition("=")[0] for x in arguments if x.startswith("--model.")]
    if changed:
        raise InputError(
            f"{', '.join(changed)} cannot be changed with --init-from, whose model "
            "keeps its sizes and rates; leave one of them out"
        )


def with_initial(config: Config) -> tuple[Config, Initial | None]:
    """Returns the config with the model that it begins with, and what that has.

    A run that has saved something goes on from there, wherever its model came from, so
    that nothing else is read.

    Raises:
        InputError: there is no such model, it does not translate, or parts are frozen
            that nobody has trained or that are not there.
    """
    frozen = config.optimizer.frozen
    if config.init_from is None:
        if frozen:
            raise InputError(
                f"{', '.join(frozen)} is frozen, but would be random numbers; give "
                "--init-from, or drop --optimizer.frozen"
            )
        return config, None
    if (model := _begun(config)) is not None:
        return replace(config, model=model), None
    initial = read_initial(config.init_from)
    is_learned(initial.params, frozen)
    return replace(config, model=initial.config), initial


def read_initial(path: str) -> Initial:
    """Returns the model of a run, of a directory of Hugging Face or of a hub id.

    Raises:
        InputError: there is none, or it does not translate.
    """
    if has_run(path) and "model" in read_config(path):
        run = Translator.from_run(path)
        config = config_from_json(read_section(path, "model"))
        if read_search(path) is None:
            return Initial(config, run.params, run.tokenizer, None)
        params = without_padding(run.params, config.pad_id, UNLIKELY)
        return Initial(config, params, run.tokenizer, run.defaults)
    directory = find(path)
    _, params, tokenizer = load_translator(directory)
    config = family_of(directory).config_of(directory)
    defaults = search_defaults(directory)
    params = without_padding(params, config.pad_id, UNLIKELY)
    return Initial(config, params, tokenizer, defaults)


def _begun(config: Config) -> ModelConfig | None:
    """Returns the model of the run in the folder, None if it has saved nothing yet."""
    if not has_run(config.workdir):
        return None
    values = read_config(config.workdir)
    steps = SavedSteps(config.workdir / "checkpoints").steps()
    saved = steps or (config.workdir / "result.json").exists()
    if not saved or values.get("init_from") != config.init_from:
        return None
    return config_from_json(read_section(config.workdir, "model"))
