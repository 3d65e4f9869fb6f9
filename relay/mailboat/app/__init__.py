"""The wiring: which object is given which, how a relay starts, reloads and stops, in one process or several."""
