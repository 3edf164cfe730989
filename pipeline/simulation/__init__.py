"""A run of the graph simulated, block by block: how long it takes, and what failures and the store cost."""
