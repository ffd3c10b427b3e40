"""The C library's memory, taught to keep what a model frees and asks for again."""

import torch

_LARGEST = 2**24
"""Bytes of a block; glibc then keeps blocks up to this size, and twice as much of freed memory."""


def keep_freed_blocks() -> None:
    """Let freed memory stay with the process instead of going back to the system.

    glibc learns how much to keep from the largest block that was given back. Untaught it may return
    a model's layers to the system after every batch, and to fetch them again, page by page, can
    cost more than the model. Nothing is written to the block, so it takes no memory itself.
    Elsewhere than in glibc this does nothing.
    """
    torch.empty(_LARGEST, dtype=torch.uint8)
