"""Pure builders of what should be there: the files of the relay, and the objects that hold them."""
