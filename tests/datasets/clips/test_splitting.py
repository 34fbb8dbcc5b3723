"""The split of clips."""

from convlstm.datasets.clips.splitting import by_names, by_person, by_shares

import pytest

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
NAMES = [f"class{n % 3}/clip{n}.avi" for n in range(30)]


def sizes(split):
    return {name: len(numbers) for name, numbers in split.items()}


def test_every_clip_is_in_one_split_by_its_share():
    split = by_shares(NAMES, SHARES, None)
    assert sizes(split) == {"train": 24, "validation": 3, "test": 3}
    assert sorted(n for numbers in split.values() for n in numbers) == list(range(30))
    assert by_shares(NAMES, {"train": 0, "validation": 0, "test": 1}, None)["test"] == list(range(30))


def test_the_split_is_one_of_names_not_of_their_order():
    split = by_shares(NAMES, SHARES, None)
    turned = by_shares(NAMES[::-1], SHARES, None)
    assert {NAMES[n] for n in split["test"]} == {NAMES[::-1][n] for n in turned["test"]}
    # A clip more leaves most clips where they were.
    more = by_shares([*NAMES, "another.avi"], SHARES, None)
    assert len(set(split["test"]) ^ set(more["test"])) <= 3


@pytest.mark.parametrize("count", range(3, 12))
def test_no_split_is_empty(count):
    for shares in (SHARES, {"train": 0.98, "validation": 0.01, "test": 0.01}):
        split = by_shares(NAMES[:count], shares, None)
        assert min(sizes(split).values()) >= 1
        assert sum(sizes(split).values()) == count


def test_too_few_clips_are_refused():
    with pytest.raises(ValueError, match=r"2 clips cannot be split into train, validation, test, .*split_by=time"):
        by_shares(NAMES[:2], SHARES, None)


def test_a_group_is_in_one_split():
    names = [f"run/v_g{n // 4:02d}_c{n % 4}.avi" for n in range(40)]
    split = by_shares(names, SHARES, r"g\d\d")
    assert sizes(split) == {"train": 32, "validation": 4, "test": 4}
    assert len({n // 4 for n in split["test"]}) == 1
    with pytest.raises(ValueError, match=r"'group' needs 'person' in the name of every clip, but run/v_g00_c0.avi"):
        by_shares(names, SHARES, "person")


def test_kth_is_split_by_persons():
    names = [
        f"{a}/person{p:02d}_{a}_d{d}_uncomp.avi" for a in ("walking", "boxing") for p in range(1, 26) for d in (1, 2)
    ]
    split = by_person(names)
    persons = {name: {int(names[n].split("person")[1][:2]) for n in numbers} for name, numbers in split.items()}
    assert persons == {"train": set(range(1, 16)), "validation": {16}, "test": set(range(17, 26))}
    assert sum(sizes(split).values()) == 100
    with pytest.raises(ValueError, match=r"'split=kth' needs 'person\(.*in the name of every clip, but a.avi has no"):
        by_person(["a.avi"])
    with pytest.raises(ValueError, match=r"persons are 1 to 25, but there are clips of \[26\]"):
        by_person([*names, "person26_walking.avi"])


def test_named_clips_and_patterns():
    split = by_names(NAMES, {"test": ["class0/*"], "validation": ["class1/clip1.avi"]}, SHARES, None)
    assert split["test"] == list(range(0, 30, 3))
    assert split["validation"] == [1]
    assert sizes(split)["train"] == 19
    # Validation gets its share of what is left.
    split = by_names(NAMES, {"test": ["class0/*"]}, {"train": 0.5, "validation": 0.25, "test": 0.25}, None)
    assert sizes(split) == {"train": 13, "validation": 7, "test": 10}


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"'test_clips' names 'valid/\*', but no clip has such a name. Clips are class0"
    ):
        by_names(NAMES, {"test": ["valid/*"]}, SHARES, None)
    with pytest.raises(ValueError, match=r"the clip class0/clip0.avi is named for both validation and test"):
        by_names(NAMES, {"test": ["class0/*"], "validation": ["*clip0.avi"]}, SHARES, None)
    with pytest.raises(ValueError, match=r"name all clips, and none is left to train on"):
        by_names(NAMES, {"test": ["*"]}, SHARES, None)
