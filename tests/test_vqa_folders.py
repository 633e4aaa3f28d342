"""What the commands on visual questions say of folders that are no run."""

import pytest

from experiments.vqa import evaluate, plot
from zoo.errors import InputError


@pytest.mark.parametrize("command", [plot, evaluate])
def test_weights_of_others_have_no_questions_of_their_own(command, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vilt"}')
    with pytest.raises(InputError, match=r"config\.json has no object 'data'"):
        command.main([f"--model={tmp_path}"])
