"The small world on a plane: frames are a run of the loop, and the world shows what Figure 1 says."
import dataclasses

import numpy as np
import pytest

from anchoral.teach.plane import World, clusters_found, draw_world, frames

SMALL = dict(n_anchors=3, n_neighbours=5)


@pytest.mark.parametrize("filter, kw", [("none", {}), ("anchoral", SMALL), ("seals", dict(n_neighbours=5)),
                                        ("randsub", dict(subpool_size=50)), ("no-anchoring", SMALL)])
def test_frames_are_a_run(filter, kw):
    plane = draw_world(seed=1)
    fs = frames(plane, filter, iterations=3, query_size=10, **kw)
    assert [f.iteration for f in fs] == [0, 1, 2, 3] and np.array_equal(fs[0].labelled, plane.start)
    assert not len(fs[-1].query)
    for a, b in zip(fs, fs[1:]):
        assert len(a.query) == 10 and set(a.query) <= set(a.subpool) and not set(a.subpool) & set(a.labelled)
        assert set(a.anchors) <= set(a.labelled)
        assert set(b.labelled) == set(a.labelled) | set(a.query) and b.found >= a.found
    assert len(fs[0].anchors) == (6 if filter == "anchoral" else 0) and fs[0].weights.shape == (2,)


def test_a_used_up_subpool_ends_the_run():
    plane = draw_world(World(flank=5, bulk=5, cluster=3), seed=0)
    fs = frames(plane, "none", iterations=10, query_size=5)
    assert len(fs[-1].labelled) == len(plane.points) and not len(fs[-1].query) and len(fs) < 11


def test_the_effect_and_its_edge():
    "Path dependence with a linear head; none with one that can bend."
    bent = lambda p: np.c_[p, p**2, p[:, :1] * p[:, 1:]].astype(np.float32)
    run = dict(seeds=range(200, 205), iterations=5, query_size=15)
    everything = clusters_found(World(), filter="none", **run).mean()
    assert everything < 1.5 < 2.5 < clusters_found(World(), filter="anchoral", **run, **SMALL).mean()
    assert clusters_found(World(), filter="none", features=bent, **run).mean() > 2.5
    assert draw_world(dataclasses.replace(World(), clusters=((0, 1),))).groups.max() == 0
