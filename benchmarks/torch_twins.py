"""The zoo's translators once more, in PyTorch as its users would write them.

Every attention goes through `scaled_dot_product_attention`, queries, keys and values of
self-attention through one product, recurrent encoders through `nn.GRU` and `nn.LSTM`.
The projected keys of a recurrent model's attention are computed once a sentence.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Params = Mapping[str, np.ndarray]  # of the zoo's model, by path


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))


def fill(module: nn.Linear, kernel: np.ndarray, bias: np.ndarray | None) -> None:
    """Copies a kernel whose first axes, of the width of the input, come flat."""
    module.weight.data = tensor(kernel.reshape(module.in_features, -1).T)
    if bias is not None:
        module.bias.data = tensor(bias.reshape(-1))


def sinusoids(length: int, width: int) -> Tensor:
    exponents = torch.arange(width // 2) * 2 / width
    angles = torch.arange(length)[:, None] / 10_000.0**exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Attention(nn.Module):
    def __init__(self, params: Params, path: str, *, itself: bool):
        super().__init__()
        width, self.num_heads, _ = params[f"{path}/query/kernel"].shape
        self.itself = itself
        self.first = nn.Linear(width, 3 * width if itself else width)
        self.memory = None if itself else nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

        def joined(*names):
            kernels = [params[f"{path}/{n}/kernel"].reshape(width, -1) for n in names]
            biases = [params[f"{path}/{n}/bias"].reshape(-1) for n in names]
            return np.concatenate(kernels, axis=1), np.concatenate(biases)

        if itself:
            fill(self.first, *joined("query", "key", "value"))
        else:
            fill(self.first, *joined("query"))
            fill(self.memory, *joined("key", "value"))
        kernel = params[f"{path}/out/kernel"].reshape(width, width)
        fill(self.out, kernel, params[f"{path}/out/bias"])

    def forward(self, states, memory=None, mask=None, causal=False):
        if self.itself:
            parts = self.first(states).chunk(3, dim=-1)
        else:
            parts = (self.first(states), *self.memory(memory).chunk(2, dim=-1))
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts
        )
        context = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal
        )
        return self.out(context.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    def __init__(self, params: Params, path: str, dropout: float, *, decoder: bool):
        super().__init__()
        width, mlp_dim = params[f"{path}/mlp/up/kernel"].shape
        self.look = Attention(params, f"{path}/self_attention", itself=True)
        self.read = None
        if decoder:
            self.read = Attention(params, f"{path}/cross_attention", itself=False)
            self.read_norm = self._norm(params, f"{path}/cross_attention_norm")
        self.look_norm = self._norm(params, f"{path}/self_attention_norm")
        self.mlp_norm = self._norm(params, f"{path}/mlp_norm")
        self.up, self.down = nn.Linear(width, mlp_dim), nn.Linear(mlp_dim, width)
        for name, module in (("up", self.up), ("down", self.down)):
            layer = f"{path}/mlp/{name}"
            fill(module, params[f"{layer}/kernel"], params[f"{layer}/bias"])
        self.drop = nn.Dropout(dropout)

    @staticmethod
    def _norm(params, path):
        norm = nn.LayerNorm(params[f"{path}/scale"].shape[0], eps=1e-5)
        norm.weight.data = tensor(params[f"{path}/scale"])
        norm.bias.data = tensor(params[f"{path}/bias"])
        return norm

    def forward(self, states, mask=None, memory=None, memory_mask=None):
        causal = self.read is not None
        context = self.look(states, mask=mask, causal=causal)
        states = self.look_norm(states + self.drop(context))
        if causal:
            context = self.read(states, memory, memory_mask)
            states = self.read_norm(states + self.drop(context))
        hidden = self.down(F.relu(self.up(states)))
        return self.mlp_norm(states + self.drop(hidden))


class Transformer(nn.Module):
    def __init__(self, params: Params, config):
        super().__init__()
        self.table = nn.Parameter(tensor(params["embedding/table"]))
        self.scale = config.model_dim**0.5
        numbers, rate = range(config.num_layers), config.dropout_rate
        self.encoder = nn.ModuleList(
            Block(params, f"encoder_{n}", rate, decoder=False) for n in numbers
        )
        self.decoder = nn.ModuleList(
            Block(params, f"decoder_{n}", rate, decoder=True) for n in numbers
        )
        self.drop = nn.Dropout(rate)
        self.register_buffer("positions", sinusoids(1024, config.model_dim))

    def embed(self, tokens):
        embedded = F.embedding(tokens, self.table) * self.scale
        return self.drop(embedded + self.positions[: tokens.shape[1]])

    def forward(self, source, inputs):
        mask = (source != 0)[:, None, None, :]
        memory = self.embed(source)
        for block in self.encoder:
            memory = block(memory, mask)
        states = self.embed(inputs)
        for block in self.decoder:
            states = block(states, None, memory, mask)
        return F.linear(states, self.table)


def recurrent(kind: type, params: Params, layers: list[str], **options) -> nn.Module:
    """Returns torch's recurrent layers with the parameters of the zoo's cells.

    Args:
        layers: paths of the cells, in torch's order.
    """
    width = params[f"{layers[0]}/kernel"].shape[0]
    num_inputs = params[f"{layers[0]}/inputs/kernel"].shape[0]
    num_layers = len(layers) // (2 if options.get("bidirectional") else 1)
    module = kind(num_inputs, width, num_layers, batch_first=True, **options)
    for names, path in zip(module.all_weights, layers, strict=True):
        inputs, hidden, input_bias, hidden_bias = names
        inputs.data = tensor(params[f"{path}/inputs/kernel"].T)
        hidden.data = tensor(params[f"{path}/kernel"].T)
        hidden_bias.data = tensor(params[f"{path}/bias"])
        no_bias = np.zeros(hidden_bias.shape, np.float32)
        input_bias.data = tensor(params.get(f"{path}/inputs/bias", no_bias))
    module.flatten_parameters()
    return module


def _cell(kind: type, params: Params, path: str, fed: np.ndarray | None) -> nn.Module:
    """Returns torch's cell, whose inputs are the embedding and what is fed beside."""
    kernels = [params[f"{path}/inputs/kernel"], *([] if fed is None else [fed])]
    kernel = np.concatenate(kernels)
    cell = kind(kernel.shape[0], params[f"{path}/kernel"].shape[0])
    cell.weight_ih.data = tensor(kernel.T)
    cell.weight_hh.data = tensor(params[f"{path}/kernel"].T)
    cell.bias_hh.data = tensor(params[f"{path}/bias"])
    no_bias = np.zeros(cell.bias_ih.shape, np.float32)
    cell.bias_ih.data = tensor(params.get(f"{path}/inputs/bias", no_bias))
    return cell


def linear(params: Params, path: str) -> nn.Linear:
    kernel, bias = params[f"{path}/kernel"], params.get(f"{path}/bias")
    linear = nn.Linear(*kernel.shape, bias=bias is not None)
    fill(linear, kernel, bias)
    return linear


class Recurrent(nn.Module):
    """What the three recurrent models share: two tables and dropout."""

    def __init__(self, params: Params, config):
        super().__init__()
        self.source_table = nn.Parameter(tensor(params["source_embedding/table"]))
        self.table = nn.Parameter(tensor(params["target_embedding/table"]))
        self.scale = config.model_dim**0.5
        self.drop = nn.Dropout(config.dropout_rate)

    def embed(self, tokens, table):
        return self.drop(F.embedding(tokens, table) * self.scale)

    def logits(self, features):
        return F.linear(self.drop(features), self.table)


class RNN(Recurrent):
    """Without attention, the summary fed to every step (Cho et al. 2014)."""

    def __init__(self, params: Params, config):
        super().__init__(params, config)
        self.encoder = recurrent(nn.GRU, params, ["encoder/layers_0"])
        self.decoder = recurrent(nn.GRU, params, ["decoder_0"])
        self.combine = linear(params, "combine")

    def forward(self, source, inputs):
        _, summary = self.encoder(self.embed(source, self.source_table))
        embedded = self.embed(inputs, self.table)
        context = summary[0][:, None].expand(-1, inputs.shape[1], -1)
        states, _ = self.decoder(torch.cat([embedded, context], -1), summary)
        joined = torch.cat([states, embedded, context], -1)
        return self.logits(torch.tanh(self.combine(joined)))


class Bahdanau(Recurrent):
    def __init__(self, params: Params, config):
        super().__init__(params, config)
        layers = ["encoder/forward/layers_0", "encoder/backward/layers_0"]
        self.encoder = recurrent(nn.GRU, params, layers, bidirectional=True)
        self.bridge = linear(params, "bridge")
        self.key = linear(params, "attention/key")
        self.query = nn.Linear(config.model_dim, config.attention_dim, bias=False)
        fill(self.query, params["attention/query_kernel"], None)
        self.vector = nn.Parameter(tensor(params["attention/vector"]))
        self.decoder = _cell(nn.GRUCell, params, "decoder", params["context_kernel"])
        self.combine = linear(params, "combine")

    def forward(self, source, inputs):
        hidden = source == 0
        annotations, finals = self.encoder(self.embed(source, self.source_table))
        keys, state = self.key(annotations), torch.tanh(self.bridge(finals[1]))
        embedded = self.embed(inputs, self.table)
        states, contexts = [], []
        for one in embedded.unbind(1):
            scores = torch.tanh(self.query(state)[:, None] + keys) @ self.vector
            weights = scores.masked_fill(hidden, -1e9).softmax(-1)
            context = torch.bmm(weights[:, None], annotations)[:, 0]
            state = self.decoder(torch.cat([one, context], -1), state)
            states.append(state)
            contexts.append(context)
        joined = torch.cat(
            [torch.stack(states, 1), embedded, torch.stack(contexts, 1)], -1
        )
        return self.logits(self.combine(joined).unflatten(-1, (-1, 2)).amax(-1))


class Luong(Recurrent):
    """General attention over two layers of LSTM, fed with what it saw before."""

    def __init__(self, params: Params, config):
        super().__init__(params, config)
        numbers = range(config.num_layers)
        layers = [f"encoder/layers_{number}" for number in numbers]
        self.encoder = recurrent(nn.LSTM, params, layers)
        self.key = linear(params, "look/key")
        fed = [params["feed_kernel"], *[None] * (config.num_layers - 1)]
        self.decoder = nn.ModuleList(
            _cell(nn.LSTMCell, params, f"decoder_{n}", fed[n]) for n in numbers
        )
        self.combine = linear(params, "combine")

    def forward(self, source, inputs):
        backwards = self.embed(source, self.source_table).flip(1)
        annotations, finals = self.encoder(backwards)
        annotations, hidden = annotations.flip(1), (source == 0)
        keys = self.key(annotations)
        states = list(zip(*finals, strict=True))
        feed, feeds = torch.zeros_like(states[-1][0]), []
        for one in self.embed(inputs, self.table).unbind(1):
            below = torch.cat([one, feed], -1)
            for number, cell in enumerate(self.decoder):
                states[number] = cell(below, states[number])
                below = states[number][0]
            scores = torch.bmm(keys, below[:, :, None])[..., 0]
            weights = scores.masked_fill(hidden, -1e9).softmax(-1)
            context = torch.bmm(weights[:, None], annotations)[:, 0]
            feed = torch.tanh(self.combine(torch.cat([context, below], -1)))
            feeds.append(feed)
        return self.logits(torch.stack(feeds, 1))


def translation_loss(
    model: nn.Module, batch: Mapping[str, Tensor], smoothing: float
) -> Tensor:
    """Returns the mean cross entropy of a batch's labels, smoothed."""
    return F.cross_entropy(
        model(batch["source"], batch["inputs"]).flatten(0, 1),
        batch["labels"].flatten(),
        ignore_index=0,
        label_smoothing=smoothing,
    )


def twin(name: str, params: Params, config) -> nn.Module:
    """Returns the twin of a model of the zoo, with its parameters."""
    if name == "rnn-luong-general":
        matrix = {"combine/kernel": params["combine_kernel"]}
        return Luong({**params, **matrix}, config)
    kinds = {"rnn-gru": RNN, "rnn-bahdanau": Bahdanau}
    return kinds.get(name, Transformer)(params, config)
