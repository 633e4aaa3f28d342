"""Stacked attention once more, in PyTorch as its users would write it."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.torch_twins import Params, fill, linear, recurrent, sinusoids, tensor


class Stage(nn.Module):
    """A coarser grid by a strided convolution, then a residual block."""

    def __init__(self, params: Params, path: str, size: int):
        super().__init__()
        kernel = params[f"{path}/projection/kernel"]
        channels, dim = kernel.shape[0] // size**2, kernel.shape[1]
        self.projection = nn.Conv2d(channels, dim, size, size, bias=False)
        cut = kernel.reshape(size, size, channels, dim)
        self.projection.weight.data = tensor(cut.transpose(3, 2, 0, 1))
        self.first, self.second = (
            nn.Conv2d(dim, dim, 3, padding=1, bias=False) for _ in range(2)
        )
        for name, module in (("first", self.first), ("second", self.second)):
            weight = params[f"{path}/{name}/kernel"].transpose(3, 2, 0, 1)
            module.weight.data = tensor(weight)
        self.norm, self.first_norm, self.second_norm = (
            self._norm(params, f"{path}/{name}")
            for name in ("norm", "first_norm", "second_norm")
        )

    @staticmethod
    def _norm(params, path):
        dim = len(params[f"{path}/scale"])
        norm = nn.GroupNorm(dim // 8, dim, eps=1e-5)
        norm.weight.data = tensor(params[f"{path}/scale"])
        norm.bias.data = tensor(params[f"{path}/bias"])
        return norm

    def forward(self, grid):
        states = F.relu(self.norm(self.projection(grid)))
        update = F.relu(self.first_norm(self.first(states)))
        return F.relu(states + self.second_norm(self.second(update)))


class Glimpse(nn.Module):
    def __init__(self, params: Params, path: str):
        super().__init__()
        self.key = linear(params, f"{path}/key")
        self.query = nn.Linear(*params[f"{path}/query_kernel"].shape, bias=False)
        fill(self.query, params[f"{path}/query_kernel"], None)
        self.vector = nn.Parameter(tensor(params[f"{path}/vector"]))

    def forward(self, known, regions):
        keys = self.key(regions)[:, None]  # once an image
        scores = torch.tanh(self.query(known)[:, :, None] + keys) @ self.vector
        return known + torch.bmm(scores.softmax(-1), regions)


class StackedAttention(nn.Module):
    def __init__(self, params: Params, config):
        super().__init__()
        self.table = nn.Parameter(tensor(params["embedding/table"]))
        self.scale = config.word_dim**0.5
        self.stages = nn.Sequential(
            *(Stage(params, f"image_encoder/stages_{n}", (4, 2)[n]) for n in range(2))
        )
        self.regions = linear(params, "image_encoder/out")
        self.reader = recurrent(nn.LSTM, params, ["reader/layers_0"])
        self.glimpses = nn.ModuleList(
            Glimpse(params, f"glimpses_{n}/attention")
            for n in range(config.num_glimpses)
        )
        self.hidden, self.out = linear(params, "hidden"), linear(params, "out")
        self.drop = nn.Dropout(config.dropout_rate)
        half = sinusoids(8, config.model_dim // 2)
        places = torch.cat(
            [half[:, None].expand(-1, 8, -1), half[None].expand(8, -1, -1)], -1
        )
        self.register_buffer("places", places)

    def forward(self, image, questions):
        grid = self.stages((image / 127.5 - 1).permute(0, 3, 1, 2))
        cells = self.regions(grid.permute(0, 2, 3, 1)) + self.places
        regions = torch.tanh(cells.flatten(1, 2))
        words = questions.flatten(0, 1)
        embedded = self.drop(F.embedding(words, self.table) * self.scale)
        _, (known, _) = self.reader(embedded)
        known = known[0].unflatten(0, questions.shape[:2])
        for glimpse in self.glimpses:
            known = glimpse(known, regions)
        known = F.relu(self.hidden(self.drop(known)))
        return self.out(self.drop(known))
