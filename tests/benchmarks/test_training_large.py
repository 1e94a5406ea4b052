from benchmarks.scale.training_large import peak_gb, synthetic_weights, timed


def test_the_synthetic_matrix_is_what_a_training_would_make() -> None:
    weights = synthetic_weights(20_000, 138, 854, seed=0)
    assert weights.shape == (138, 854)
    assert 5_000 < weights.nnz < 20_000  # repeated pairs became one
    assert set(weights.data.tolist()) == {0.5, 1.0}
    popular = weights.getnnz(axis=0)
    assert popular[:20].mean() > 3 * popular[400:].mean()


def test_time_and_memory_are_measured() -> None:
    taken = timed(lambda: sum(range(2_000_000)))
    assert taken.processor_s > 0
    assert taken.wall_s > 0
    assert 0.01 < peak_gb() < 100
