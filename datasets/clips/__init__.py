"""Clips without times: videos, stacks of frames and folders of pictures, cut into sequences."""
