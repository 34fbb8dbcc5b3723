"""Operations with a fast path, each beside the plain reference that a test compares it with."""
