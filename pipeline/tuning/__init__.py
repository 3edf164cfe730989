"""Hyper-parameter search: settings are embedded from kept image tokens, measured, and compared.

- sweep: actors that embed kept tokens under many settings in one pass; desk: takes the trials' questions together
- space: which settings there are; search: Ray Tune over them; outcome: what it found, as tables
"""
