"""A Hypothesis strategy for files that a disk or a careless hand has damaged."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

DAMAGES = ("cut", "empty", "flipped", "zeroed", "doubled", "text", "swapped")


@st.composite
def damaged(draw: st.DrawFn, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Draws a damaged version of a file's content; `others` are files that may take its place."""
    kind = draw(st.sampled_from(DAMAGES if others else DAMAGES[:-1]))
    start = draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:start]
    if kind == "flipped":
        return content[:start] + bytes([content[start] ^ (1 << draw(st.integers(0, 7)))]) + content[start + 1 :]
    if kind == "zeroed":
        return content[:start] + bytes(len(content) - start)
    if kind == "swapped":
        return draw(st.sampled_from(others))
    return {"empty": b"", "doubled": content + content, "text": b"no such frame\n" * 9}[kind]
