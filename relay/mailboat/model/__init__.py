"""The nouns of a relay, and nothing that happens to them. Standard library only; everybody may import this."""
