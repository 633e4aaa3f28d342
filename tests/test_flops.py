"""What an update costs is counted in kernels too into which torch does not look."""

import pytest

torch = pytest.importorskip("torch")

from benchmarks.training import TorchWork  # noqa: E402

BATCH, LENGTH, WIDTH, HEADS = 2, 8, 16, 4


class Small(TorchWork):
    """An LSTM, and attention of its states to themselves."""

    def __init__(self):
        super().__init__(torch.nn.LSTM(WIDTH, WIDTH))

    def loss(self):
        states, _ = self.model(torch.ones(LENGTH, BATCH, WIDTH))
        heads = states.reshape(LENGTH, BATCH, HEADS, -1).permute(1, 2, 0, 3)
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(heads, heads, heads).sum()


def test_lstms_and_attention_are_counted():
    fused = torch.backends.mkldnn.enabled
    # Two products of width 16 with the weights of four gates.
    lstm = 2 * LENGTH * BATCH * 4 * WIDTH * 2 * WIDTH
    # Queries with keys, weights with values.
    attention = 2 * 2 * BATCH * LENGTH * LENGTH * WIDTH
    assert Small().flops() == 3 * (lstm + attention)
    assert torch.backends.mkldnn.enabled == fused
