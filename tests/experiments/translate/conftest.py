"""A run of the translation experiment, for all tests that look at one."""

import pytest

from tests.experiments.translate.runs import finish


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """Returns the folder of a run that nothing has interrupted, on one device."""
    workdir = tmp_path_factory.mktemp("unbroken")
    finish(workdir)
    return workdir
