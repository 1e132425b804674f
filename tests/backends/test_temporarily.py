from types import SimpleNamespace

import pytest

from treegrpo.backends.temporarily import temporarily


def fail_within(thing):
    with temporarily(thing, guidance=1.0):
        assert vars(thing) == {"guidance": 1.0, "dtype": "float32"}
        with temporarily(thing, guidance=2.0, dtype="float16"):
            assert vars(thing) == {"guidance": 2.0, "dtype": "float16"}
        assert vars(thing) == {"guidance": 1.0, "dtype": "float32"}
        raise ValueError("on the way")


def test_values_come_back_whatever_happens():
    thing = SimpleNamespace(guidance=5.0, dtype="float32")
    with pytest.raises(ValueError, match="on the way"):
        fail_within(thing)
    assert vars(thing) == {"guidance": 5.0, "dtype": "float32"}
