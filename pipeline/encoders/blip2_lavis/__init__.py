"""BLIP-2, by salesforce-lavis in an environment of its own."""
