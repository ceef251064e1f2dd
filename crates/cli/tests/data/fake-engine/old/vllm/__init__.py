"""The same stand-in with its parts where other versions have them."""

__version__ = "0.8.5.post2"
