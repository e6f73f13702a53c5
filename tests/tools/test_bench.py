"""What holds for the table of layers that `make bench` prints."""

import bench_layers

import lib.layers


def test_every_layer_is_in_the_table_and_runs_beside_torchs():
    rows = bench_layers.rows()
    public = {getattr(lib.layers, name) for name in lib.layers.__all__}
    layers = {each for each in public if isinstance(each, type)} - {lib.layers.StochasticLayer}
    assert {type(row.ours) for row in rows.values()} == layers
    for row in rows.values():
        for layer in (row.ours, row.torchs):
            bench_layers.training_run(layer, row.x)()
            bench_layers.eval_run(layer, row.x)()
        shapes = {bench_layers.first_of(each(row.x)).shape for each in (row.ours, row.torchs)}
        assert len(shapes) == 1
