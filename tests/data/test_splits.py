from zoo.data.splits import SPLITS, percents, split_of


def test_the_split_of_a_text_is_the_same_on_every_machine():
    # The first eight bytes of SHA-256, modulo 100: 26 gives 91, 8 gives 95.
    splits = {
        split: [n for n in range(60) if split_of(str(n)) == split] for split in SPLITS
    }
    assert splits["validation"] == [26, 47, 50, 56]
    assert splits["test"] == [8, 19]


def test_the_shares_make_a_whole():
    assert sum(percents(split) for split in SPLITS) == 100
