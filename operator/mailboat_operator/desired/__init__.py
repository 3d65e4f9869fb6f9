"""Pure builders of the desired state: the relay's files, and the objects that hold them."""
