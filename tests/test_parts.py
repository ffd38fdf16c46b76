"The parts of the loop: what they refuse, at once and by name, and what stays exact when numbers get hard."
import numpy as np

from anchoral.strategies import closest_distinct


def nearest_in_float64(centres, rows):
    "The definition, one difference at a time."
    free = list(range(len(rows)))
    chosen = []
    for centre in centres:
        gaps = [np.square(rows[i].astype(np.float64) - centre).sum() for i in free]
        chosen.append(free.pop(int(np.argmin(gaps))))
    return chosen


def test_the_row_nearest_to_a_centre_is_the_one_of_float64_although_all_rows_share_a_large_mean():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=384) + .001 * rng.normal(size=(2000, 384))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    centres = np.array([rows[at:at+40].mean(0) for at in range(0, 1000, 40)])
    expanded = (rows**2).sum(1) - 2 * centres @ rows.T
    right = nearest_in_float64(centres, rows)
    assert closest_distinct(centres, rows).tolist() == right
    assert expanded.argmin(1).tolist() != right, "the example is too easy: float32 finds the same"


def test_copies_are_taken_by_position():
    rows = np.repeat(np.array([[1, 0], [0, 1]], np.float32), 700, axis=0)
    centres = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert closest_distinct(centres, rows).tolist() == [0, 1, 700]
