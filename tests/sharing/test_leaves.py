from unmask.sharing.leaves import in_turn


def test_the_order_of_leaves():
    """Two players at a time, the other two one by one, the last to come the fastest."""
    assert in_turn((2, 0, 3, 1), 5).tolist() == [
        0b0000, 0b0100, 0b0001, 0b0101, 0b0010, 0b0110, 0b0011, 0b0111,
        0b1000, 0b1100, 0b1001, 0b1101, 0b1010, 0b1110, 0b1011, 0b1111,
    ]  # fmt: skip
    assert in_turn((0, 1, 2), 8).tolist() == list(range(8))
