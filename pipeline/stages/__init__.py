"""What runs inside Ray Data: Arrow tables in, Arrow tables out. Knows Ray, and models only by their contracts.

Photos flow through `read`, `detect` and `encode` (indexing) or `read` and `match` (re-ranking).
"""
