"""Test suites: items, scorers, runs with resume and cache, paired comparisons. See docs/suites.md."""
