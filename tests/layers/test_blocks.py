"""Blocks of the Transformer: torch's with the same weights, and token by token."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.errors import InputError
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import (
    DecoderBlock,
    EncoderBlock,
    post_norm,
    pre_norm,
    rematerialized,
)
from zoo.layers.feedforward import FeedForward
from zoo.layers.masks import causal_mask, padding_mask

MODEL_DIM, MLP_DIM, NUM_HEADS = 8, 12, 2
VALID = jnp.array([[True] * 5, [True] * 3 + [False] * 2])
every_residual = pytest.mark.parametrize(
    "residual", [post_norm, pre_norm], ids=["post_norm", "pre_norm"]
)


def make(block, residual, **fields):
    return block(
        attention=partial(MultiHeadAttention, MODEL_DIM, NUM_HEADS),
        feed_forward=partial(FeedForward, MODEL_DIM, MLP_DIM),
        norm=partial(nn.LayerNorm, epsilon=1e-5),
        residual=residual,
        **fields,
    )


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def decode(block, inputs, encoded, mask, memory_mask):
    return block(inputs, block.memory(encoded), mask, memory_mask)


def parameters(block, *arguments, method=None):
    """Returns parameters for a block, none of which is zero."""
    shapes = jax.eval_shape(
        lambda *arguments: block.init(jax.random.key(0), *arguments, method=method),
        *arguments,
    )
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2, jnp.float32), shapes
    )


def test_post_norm_by_hand():
    assert post_norm(jnp.array(2.0), lambda x: 3 * x, lambda x: x + 100) == 108


def test_pre_norm_by_hand():
    assert pre_norm(jnp.array(2.0), lambda x: 3 * x, lambda x: x + 100) == 308


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed (extra: parity)")


def torch_layer(torch, kind, residual):
    layer = getattr(torch.nn, kind)(
        MODEL_DIM,
        NUM_HEADS,
        MLP_DIM,
        dropout=0.0,
        batch_first=True,
        norm_first=residual is pre_norm,
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return layer


def dense(layer):
    return {"kernel": layer.weight.T, "bias": layer.bias}


def norm(layer):
    return {"scale": layer.weight, "bias": layer.bias}


def attention(layer):
    """Returns torch's attention with its three projections apart and heads in axes."""
    heads = NUM_HEADS, MODEL_DIM // NUM_HEADS
    params = {
        name: {
            "kernel": weight.T.reshape(MODEL_DIM, *heads),
            "bias": bias.reshape(heads),
        }
        for name, weight, bias in zip(
            ("query", "key", "value"),
            layer.in_proj_weight.chunk(3),
            layer.in_proj_bias.chunk(3),
            strict=True,
        )
    }
    out = layer.out_proj
    kernel = out.weight.T.reshape(*heads, MODEL_DIM)
    return {**params, "out": {"kernel": kernel, "bias": out.bias}}


def params_of(layer):
    """Returns the weights of a torch layer as parameters of our block."""
    norms = ["self_attention_norm", "mlp_norm"]
    params = {
        "self_attention": attention(layer.self_attn),
        "mlp": {"up": dense(layer.linear1), "down": dense(layer.linear2)},
    }
    if hasattr(layer, "multihead_attn"):
        params["cross_attention"] = attention(layer.multihead_attn)
        norms.insert(1, "cross_attention_norm")
    for number, name in enumerate(norms, start=1):
        params[name] = norm(getattr(layer, f"norm{number}"))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf.detach().numpy()), params)


@every_residual
def test_an_encoder_block_is_torch_with_the_same_weights(torch, residual):
    layer = torch_layer(torch, "TransformerEncoderLayer", residual)
    inputs = draw(2, 5, MODEL_DIM)
    found = jax.jit(make(EncoderBlock, residual).apply)(
        {"params": params_of(layer)}, inputs, padding_mask(VALID)
    )
    # torch's masks are True where a key is hidden.
    expected = layer(
        torch.tensor(np.asarray(inputs)),
        src_key_padding_mask=torch.tensor(~np.asarray(VALID)),
    )
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)


@every_residual
def test_a_decoder_block_is_torch_with_the_same_weights(torch, residual):
    layer = torch_layer(torch, "TransformerDecoderLayer", residual)
    inputs, encoded = draw(2, 4, MODEL_DIM), draw(2, 5, MODEL_DIM, seed=1)
    block = make(DecoderBlock, residual)
    found = jax.jit(partial(block.apply, method=decode))(
        {"params": params_of(layer)},
        inputs,
        encoded,
        causal_mask(4),
        padding_mask(VALID),
    )
    expected = layer(
        torch.tensor(np.asarray(inputs)),
        torch.tensor(np.asarray(encoded)),
        tgt_mask=torch.tensor(~np.asarray(causal_mask(4)[0, 0])),
        memory_key_padding_mask=torch.tensor(~np.asarray(VALID)),
    )
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)


@every_residual
def test_token_by_token_is_all_at_once_under_the_causal_mask(residual):
    num_hypotheses, length, spare = 3, 4, 2
    block = make(DecoderBlock, residual)
    inputs = draw(2, num_hypotheses, length, MODEL_DIM)
    encoded, memory_mask = draw(2, 5, MODEL_DIM, seed=1), padding_mask(VALID)
    masks = causal_mask(length), memory_mask
    variables = parameters(block, inputs[:, 0], encoded, *masks, method=decode)
    memory = jax.jit(partial(block.apply, method="memory"))(variables, encoded)
    # What stands in the cache where nothing was written yet must not matter.
    shape = (2, NUM_HEADS, MODEL_DIM // NUM_HEADS, (length + spare) * num_hypotheses)
    cache = (jnp.full(shape, 1e3), jnp.full(shape, -1e3).swapaxes(2, 3))
    step = jax.jit(partial(block.apply, method="step"))
    found = []
    places, writers = jnp.divmod(jnp.arange(shape[-1]), num_hypotheses)
    own = writers == jnp.arange(num_hypotheses)[:, None]
    for position in range(length):
        visible = jnp.broadcast_to(own & (places <= position), (2, 1, *own.shape))
        states, cache = step(
            variables,
            inputs[:, :, position],
            cache,
            jnp.int32(position),
            visible,
            memory,
            memory_mask,
        )
        assert states.shape == (2, num_hypotheses, MODEL_DIM)
        found.append(states)
    found = jnp.stack(found, axis=2)
    apply = jax.jit(block.apply)
    for hypothesis in range(num_hypotheses):
        expected = apply(variables, inputs[:, hypothesis], memory, *masks)
        np.testing.assert_allclose(found[:, hypothesis], expected, atol=1e-5)
    key, value = cache
    np.testing.assert_array_equal(key[..., length * num_hypotheses :], 1e3)
    np.testing.assert_array_equal(value[:, :, length * num_hypotheses :], -1e3)


@every_residual
def test_the_future_cannot_matter_to_a_decoder_block(residual):
    block = make(DecoderBlock, residual)
    arguments = draw(2, 5, MODEL_DIM, seed=1), causal_mask(4), padding_mask(VALID)
    inputs = draw(2, 4, MODEL_DIM)
    variables = parameters(block, inputs, *arguments, method=decode)
    apply = jax.jit(partial(block.apply, method=decode))
    before = apply(variables, inputs, *arguments)
    after = apply(variables, inputs.at[:, 2:].set(9.0), *arguments)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert np.abs(before[:, 2:] - after[:, 2:]).min(axis=-1).max() > 1e-4


@every_residual
def test_padding_cannot_matter_to_an_encoder_block(residual):
    block, inputs = make(EncoderBlock, residual), draw(2, 5, MODEL_DIM)
    variables = parameters(block, inputs)
    apply = jax.jit(block.apply)
    before = apply(variables, inputs, padding_mask(VALID))
    after = apply(variables, inputs.at[1, 3:].set(9.0), padding_mask(VALID))
    np.testing.assert_array_equal(before[VALID], after[VALID])


@pytest.mark.parametrize("block", [EncoderBlock, DecoderBlock])
def test_dropout_takes_every_sublayer_before_it_is_added(block):
    # At this rate one element in 65,536 survives: under pre_norm the inputs are left.
    block = make(block, pre_norm, dropout_rate=0.99998)
    inputs, encoded = draw(2, 4, MODEL_DIM), draw(2, 5, MODEL_DIM, seed=1)

    def apply(block, inputs, encoded, deterministic=True):
        arguments = (None,)
        if isinstance(block, DecoderBlock):
            arguments = (block.memory(encoded), None, None)
        return block(inputs, *arguments, deterministic=deterministic)

    @jax.jit
    def outputs(variables, key):
        rngs, arguments = {"dropout": key}, (variables, inputs, encoded)
        return (
            block.apply(*arguments, method=apply),
            block.apply(*arguments, deterministic=False, method=apply, rngs=rngs),
        )

    variables = parameters(block, inputs, encoded, method=apply)
    plain, dropped = outputs(variables, jax.random.key(0))
    np.testing.assert_array_equal(dropped, inputs)
    assert np.abs(plain - inputs).max() > 1e-2


class Stack(nn.Module):
    """A block of each kind, as models hold them."""

    encoder_block: partial
    decoder_block: partial

    def setup(self):
        self.encoder = self.encoder_block()
        self.decoder = self.decoder_block()

    def __call__(self, source, inputs):
        memory = self.decoder.memory(self.encoder(source, deterministic=False))
        mask = causal_mask(inputs.shape[1])
        return self.decoder(inputs, memory, mask, None, deterministic=False)


def test_a_block_that_keeps_nothing_has_the_same_gradient():
    parts = {
        "attention": partial(MultiHeadAttention, MODEL_DIM, NUM_HEADS),
        "feed_forward": partial(FeedForward, MODEL_DIM, MLP_DIM),
        "dropout_rate": 0.3,
    }
    stack = Stack(partial(EncoderBlock, **parts), partial(DecoderBlock, **parts))
    source, inputs = draw(2, 5, MODEL_DIM), draw(2, 4, MODEL_DIM, seed=1)
    rngs = {"dropout": jax.random.key(1)}
    drawn = jax.jit(stack.init)
    variables = drawn({"params": jax.random.key(0), **rngs}, source, inputs)

    def gradient_and_bytes(stack):
        def loss(variables):
            return (stack.apply(variables, source, inputs, rngs=rngs) ** 2).sum()

        kept = jax.eval_shape(lambda values: jax.vjp(loss, values)[1], variables)
        sizes = [leaf.size for leaf in jax.tree.leaves(kept)]
        return jax.jit(jax.grad(loss))(variables), sum(sizes)

    whole, whole_bytes = gradient_and_bytes(stack)
    again, again_bytes = gradient_and_bytes(rematerialized(stack))
    for ours, theirs in zip(*map(jax.tree.leaves, (again, whole)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert again_bytes - num_params < (whole_bytes - num_params) / 4


def test_a_model_without_blocks_cannot_keep_less():
    with pytest.raises(InputError, match="Dense has no blocks"):
        rematerialized(nn.Dense(3))


def test_parts_are_passed_in_not_switched_on():
    block = EncoderBlock(
        attention=partial(MultiHeadAttention, MODEL_DIM, NUM_HEADS),
        feed_forward=partial(FeedForward, MODEL_DIM, MLP_DIM),
        norm=partial(nn.RMSNorm, epsilon=1e-6),
        residual=lambda inputs, sublayer, norm: inputs,
    )
    inputs = draw(2, 5, MODEL_DIM)
    variables = parameters(block, inputs)
    np.testing.assert_array_equal(block.apply(variables, inputs), inputs)
    variables = parameters(block.clone(residual=pre_norm), inputs)
    assert set(variables["params"]["mlp_norm"]) == {"scale"}
