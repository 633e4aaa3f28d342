"""Rules for weights: what becomes what, and what no rule accounts for."""

import jax
import numpy as np
import pytest

from zoo.errors import InputError
from zoo.pretrained.conversion import (
    Rule,
    attention_rules,
    convert,
    linear_rules,
    norm_rules,
)

RULES = [
    *linear_rules(r"layers\.(\d)\.fc", r"block_\1/mlp"),
    *norm_rules(r"norm", r"norm"),
    Rule(r"(?:a|b)\.table", "table"),
]


def shapes(**leaves):
    tree = {}
    for path, shape in leaves.items():
        *parents, name = path.split("__")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = jax.ShapeDtypeStruct(shape, np.float32)
    return tree


def test_a_linear_map_is_transposed_and_numbered():
    weights = {
        "layers.3.fc.weight": np.arange(6.0).reshape(2, 3),
        "layers.3.fc.bias": np.ones(2),
    }
    expected = shapes(block_3__mlp__kernel=(3, 2), block_3__mlp__bias=(2,))
    params = convert(weights, RULES, expected)
    np.testing.assert_array_equal(
        params["block_3"]["mlp"]["kernel"], [[0, 3], [1, 4], [2, 5]]
    )


def test_heads_are_split_as_torch_joins_them():
    rng = np.random.default_rng(0)
    weights = {
        f"{name}_proj.{kind}": rng.normal(size=(6, 6) if kind == "weight" else 6)
        for name in ("q", "k", "v", "out")
        for kind in ("weight", "bias")
    }
    expected = shapes(attention__out__kernel=(2, 3, 6), attention__out__bias=(6,))
    for name in ("query", "key", "value"):
        expected["attention"] |= shapes(**{f"{name}__kernel": (6, 2, 3)})
        expected["attention"][name] |= shapes(bias=(2, 3))
    params = convert(weights, attention_rules("", "attention", 2), expected)
    states = rng.normal(size=6)
    query = np.einsum("D,DHE->HE", states, params["attention"]["query"]["kernel"])
    np.testing.assert_allclose(
        query.reshape(-1), weights["q_proj.weight"] @ states, atol=1e-6
    )
    out = np.einsum(
        "HE,HED->D", states.reshape(2, 3), params["attention"]["out"]["kernel"]
    )
    np.testing.assert_allclose(out, weights["out_proj.weight"] @ states, atol=1e-6)


def test_all_that_is_wrong_is_told_at_once():
    weights = {
        "norm.weight": np.ones(3),
        "other.weight": np.ones(3),
        "layers.0.fc.bias": np.ones(4),
        "position_ids": np.ones(4),
    }
    expected = shapes(norm__scale=(3,), norm__bias=(3,), block_0__mlp__bias=(5,))
    with pytest.raises(InputError) as raised:
        convert(weights, RULES, expected, ignored=["position_ids"])
    message = str(raised.value)
    assert "1 left over: other.weight" in message
    assert "1 missing: norm/bias" in message
    assert "1 wrong: layers.0.fc.bias [4] for block_0/mlp/bias [5]" in message
    assert "position_ids" not in message


def test_a_layer_that_the_config_does_not_have_is_left_over():
    weights = {"layers.7.fc.bias": np.ones(2), "layers.0.fc.bias": np.ones(2)}
    with pytest.raises(InputError, match=r"left over: layers\.7\.fc\.bias"):
        convert(weights, RULES, shapes(block_0__mlp__bias=(2,)))


def test_a_long_list_is_cut():
    weights = {f"x{number}": np.ones(1) for number in range(30)}
    with pytest.raises(InputError, match=r"30 left over: .* and 22 more"):
        convert(weights, RULES, {})


def test_names_of_one_parameter_may_be_stored_twice_if_they_agree():
    expected = shapes(table=(2,))
    same = {"a.table": np.ones(2), "b.table": np.ones(2)}
    np.testing.assert_array_equal(convert(same, RULES, expected)["table"], [1, 1])
    with pytest.raises(InputError, match=r"b\.table differs"):
        convert({**same, "b.table": np.zeros(2)}, RULES, expected)


@pytest.mark.parametrize("shape", [(), (7,), (2, 2, 2)])
def test_a_shape_that_no_transform_takes_is_wrong(shape):
    weights = {"q_proj.bias": np.ones(shape)}
    expected = {"attention": {"query": shapes(bias=(2, 3))["bias"]}}
    expected = {"attention": {"query": {"bias": expected["attention"]["query"]}}}
    with pytest.raises(InputError, match=r"wrong: q_proj\.bias"):
        convert(weights, attention_rules("", "attention", 2), expected)
