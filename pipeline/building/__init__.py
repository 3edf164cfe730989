"""Building search indexes of feature sets: what is to do, the work in this process or on Ray, and what is kept."""
