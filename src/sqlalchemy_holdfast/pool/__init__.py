"""One engine's pool: how a checkout gets a connection, and what is done to it until it is returned."""
