"""The nouns of a relay, and nothing that happens to them. Standard library only; every package may import this."""
