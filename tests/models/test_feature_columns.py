import numpy as np

from models.feature_columns import FAR, FeatureColumns


def test_rows_are_in_the_order_of_names_about_zero_and_of_deviation_one():
    features = {"b": np.array([1, 3], np.float32), "a": np.array([10, 30], np.float32)}
    columns = FeatureColumns.of(features)
    assert columns.names == ["a", "b"]
    np.testing.assert_allclose(columns.rows(features), [[-1, -1], [1, 1]])
    np.testing.assert_allclose(
        columns.rows({"a": np.array([20], np.float32), "b": np.array([4], np.float32)}), [[0, 2]]
    )


def test_what_never_changes_keeps_its_scale_and_what_lies_far_out_is_cut_off():
    columns = FeatureColumns.of({"a": np.array([5, 5], np.float32)})
    np.testing.assert_allclose(columns.rows({"a": np.array([6, 500, -500], np.float32)}), [[1], [FAR], [-FAR]])
