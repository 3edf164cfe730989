"""What evaluation, tuning and reproduction share: photos with captions, named settings, and their outcomes."""
