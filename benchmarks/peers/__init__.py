"""Other libraries, measured in an environment of their own; Forethought never needs them."""
