"""What evaluation, tuning and reproduction share."""
