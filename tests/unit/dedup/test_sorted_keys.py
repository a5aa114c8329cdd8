"""Keys on disk, and their merge by ranges."""

import numpy as np
import pytest

from gristmill.dedup.sorted_keys import count_keys, key_ranges, keys_between, read_range, write_sorted


@pytest.mark.parametrize("at_once", [1, 7, 100, 10_000])
def test_every_key_falls_into_exactly_one_range_with_its_document(tmp_path, at_once):
    draws = np.random.default_rng(1)
    shards = [draws.integers(0, 2**64, size, dtype=np.uint64) for size in (40, 0, 1, 59)]
    shards[3][:3] = [0, 2**64 - 1, shards[0][5]]
    stems, offsets, expected = [], [], []
    for number, keys in enumerate(shards):
        stems.append(tmp_path / f"part-{number}")
        offsets.append(sum(map(len, shards[:number])))
        write_sorted(stems[-1], keys, np.arange(len(keys), dtype=np.uint32))
        expected += [(int(key), offsets[-1] + row) for row, key in enumerate(keys)]
    assert sum(map(count_keys, stems)) == 100
    found = []
    for low, high in key_ranges(100, at_once=at_once):
        keys, documents = read_range(stems, offsets, low, high)
        assert all(low <= int(key) < high for key in keys)
        found += zip(map(int, keys), documents.tolist(), strict=True)
    assert sorted(found) == sorted(expected)
    assert len(key_ranges(100, at_once=at_once)) == -(-100 // at_once)


def test_a_shards_keys_are_ascending_and_equal_ones_by_row(tmp_path):
    write_sorted(tmp_path / "a", np.array([9, 3, 9, 1], np.uint64), np.array([7, 6, 5, 4], np.uint32))
    keys, rows = keys_between(tmp_path / "a", 0, 1 << 64)
    assert keys.tolist() == [1, 3, 9, 9]
    assert rows.tolist() == [4, 6, 5, 7]
    assert keys_between(tmp_path / "a", 2, 9)[0].tolist() == [3]
