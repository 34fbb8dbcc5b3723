"""A reader of GIF files."""

import numpy as np
from PIL import Image


def gif_frames(path):
    """Returns the number of loops (0: endless), the milliseconds of each frame and the frames as RGB."""
    with Image.open(path) as image:
        durations, pictures = [], []
        for k in range(image.n_frames):
            image.seek(k)
            durations.append(image.info["duration"])
            pictures.append(np.asarray(image.convert("RGB")))
        return image.info.get("loop"), durations, pictures
