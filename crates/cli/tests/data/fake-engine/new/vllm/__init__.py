"""Stands in for vLLM in tests: the same import names, a configuration of a few fields, and every way to refuse."""

print("noise on standard output while it is imported")
__version__ = "0.32.0+cpu"
