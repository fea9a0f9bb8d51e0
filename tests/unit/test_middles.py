"""Medians and quantiles: what numpy says, sooner."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from domain.middles import median, median_of_five, quantile
from domain.series import Array

FINITE = st.floats(-1e9, 1e9)


@settings(max_examples=60)
@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9), elements=FINITE))
def test_the_median_is_numpys_along_every_axis_and_leaves_its_rows_as_they_were(values: Array):
    before = values.copy()
    for axis in range(-1, values.ndim):
        assert median(values, axis=axis) == pytest.approx(np.median(values, axis=axis), rel=1e-12)
    assert (values == before).all()


@settings(max_examples=60)
@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=FINITE), st.floats(0, 1))
def test_a_quantile_of_sorted_rows_is_numpys(values: Array, share: float):
    ordered = np.sort(values, axis=1)
    assert quantile(ordered, share) == pytest.approx(np.quantile(values, share, axis=1), rel=1e-9, abs=1e-5)


@settings(max_examples=60)
@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=FINITE))
def test_the_median_of_five_is_that_of_the_neighbourhood(values: Array):
    padded = np.pad(values, ((0, 0), (2, 2)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=1)
    assert median_of_five(values).tolist() == np.median(around, axis=2).tolist()
