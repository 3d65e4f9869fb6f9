"""The relays under test."""
