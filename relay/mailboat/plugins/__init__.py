"""The plugins that come with the relay. Each is one file, and an example: it uses what every plugin may use."""
