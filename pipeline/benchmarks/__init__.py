"""Measurements that `qpert benchmark` runs."""
