"""InternVL-C and InternVL-G."""
