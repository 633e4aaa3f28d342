"""The one exception for what a user can cause and can mend."""


class InputError(ValueError):
    """Says in one line what is wrong with a file, a line or a value, and the remedy.

    The commands under `experiments/` print the message and exit with status 2;
    any other exception is a defect of ours and keeps its traceback.
    """
