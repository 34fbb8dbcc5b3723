"""RADOLAN composites for tests, written by the specification of the format."""

import numpy as np


def radolan_bytes(numbers, product="RW", moment="311350", month="0719", *, version=3, extra="", precision=-1):
    """Returns a composite of stored numbers (H, W), the northern row first, as the file has them with their flags."""
    height, width = numbers.shape
    dtype = np.uint8 if product in ("RX", "WX", "EX") else "<u2"
    pixels = numbers[::-1].astype(dtype).tobytes()
    text = (
        f"VS{version:2d}SW   2.21.0PR E{precision:+03d}INT  60GP{height:4d}x{width:4d}{extra}MF 00000001MS 10<asb,boo> "
    )
    head = f"{product}{moment}10000{month}BY"
    return f"{head}{len(head) + 7 + len(text) + 1 + len(pixels):7d}{text}\x03".encode() + pixels


def write_radolan(path, numbers, *about, **more):
    """Writes a composite; returns its path."""
    path.write_bytes(radolan_bytes(np.asarray(numbers), *about, **more))
    return path
