"""MeteoNet stacks for tests, with pickled dates as in the originals."""

from datetime import datetime, timedelta

import numpy as np

START = datetime(2016, 8, 21, 23, 50)


def write_meteonet(path, numbers, dates=None):
    """Writes a stack of whole numbers (T, H, W), from 23:50 on every 5 minutes; returns the path."""
    dates = [START + timedelta(minutes=5 * n) for n in range(len(numbers))] if dates is None else dates
    np.savez_compressed(path, data=numbers, dates=np.array(dates, object), miss_dates=np.array([START], object))
    return path
