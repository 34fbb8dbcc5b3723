"""Folders of radar files: as one series of frames in time, and their newest frames."""
