"""Contamination: test items in training data, near-duplicates inside it, and what models know by heart.

The parts: `passages` (what must not be found), `overlap` and `embeddings` (where it is), `duplicates`, `probes` (of
models), `checking` (all of it kept in the store), `apart` (scores on contaminated and clean items).
"""
