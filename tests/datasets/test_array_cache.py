from convlstm.datasets.array_cache import ArrayCache

import numpy as np
import pytest


def test_the_size_is_bounded():
    cache, loads = ArrayCache(3 * 80, least=1), []

    def get(key, size=10):
        return cache.get(key, lambda: loads.append(key) or np.full(size, key, np.int64))

    for key in (1, 2, 3, 1, 4, 1, 2):
        assert get(key)[0] == key
    # 2 was the least recently used one when 4 came.
    assert loads == [1, 2, 3, 4, 2]
    get(5, size=1000)
    get(6)
    assert loads == [1, 2, 3, 4, 2, 5, 6]
    get(6)
    get(5, size=1000)
    assert loads[-1] == 5, "one that is larger than the bound stays until the next one comes"
    with pytest.raises(ValueError, match="read-only"):
        get(5)[0] = 1


def test_room_is_what_can_be_added():
    cache = ArrayCache(3 * 80)
    assert cache.room == 240
    cache.put("a", np.zeros(10))
    assert (cache.room, cache.find("a").shape, cache.find("b")) == (160, (10,), None)
    cache.put("b", np.zeros(30))
    assert (cache.room, cache.find("a")) == (0, None)
