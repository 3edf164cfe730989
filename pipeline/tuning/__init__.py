"""Hyper-parameter search: settings are embedded from kept image tokens, ranked, and compared.

- spec, space: what is searched; search: Ray Tune over it; run, confirming: one encoder through all of it
- trial_server: answers the trials, with one pass over the tokens for all settings that wait together
- token_embedder, actors: the actors behind it; findings, grid_tables, tuning_report: what the search found
"""
