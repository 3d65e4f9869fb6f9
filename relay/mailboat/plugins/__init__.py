"""The shipped plugins. Each is one file and an example, because it uses only the API of all plugins."""
