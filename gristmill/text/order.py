"""A page's place in a seeded order: a pure function of its doc_id, so that shards and workers do not matter."""

import hashlib


def place(doc_id: str, *, seed: int, purpose: str) -> float:
    """Uniform in [0, 1): sort by it to shuffle, compare it with a share to sample.

    purpose: makes the order of one stage independent of another's, else a sample of a sample would not be one.
    """
    digest = hashlib.blake2b(f"{purpose}:{seed}:{doc_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
