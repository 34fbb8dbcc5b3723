"""Short runs of train.py under faults: whatever happens to them, nothing that was saved may be lost."""
