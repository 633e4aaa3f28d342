import pytest

import zoo


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: zoo.Constraints(min_length=-1), "min_length is -1"),
        (lambda: zoo.Constraints(no_repeated_ngram=-1), "no_repeated_ngram is -1"),
        (lambda: zoo.Sampling(temperature=0.0), "temperature is 0.0"),
        (lambda: zoo.Sampling(temperature=float("nan")), "temperature is nan"),
        (lambda: zoo.Sampling(temperature=float("inf")), "temperature is inf"),
        (lambda: zoo.Sampling(top_k=0), "top_k is 0"),
        (lambda: zoo.Sampling(top_p=0.0), "top_p is 0.0"),
        (lambda: zoo.Sampling(top_p=1.5), "top_p is 1.5"),
        (lambda: zoo.Sampling(seed=-1), "seed is -1"),
        (lambda: zoo.Sampling(seed=2**32), "seed is 4294967296"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(make, message):
    with pytest.raises(zoo.InputError, match=message):
        make()
