"""The fast paths, each beside the plain reference that a test holds it to."""
