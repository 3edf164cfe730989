"""What runs inside Ray Data: read -> detect -> encode -> write. These files know Ray and no model.

- graph: the stages as one Ray Data graph; run: one run of it, from manifest to counts
- read; detect and encode: actors around a detector and an encoder; actor, columns: what the two share
- guard: one bad photo fails alone; device: which device, and the dtype for it
- pools: actors per stage and GPU type; session: starting or joining Ray
- identity: what changes the features; resume: where an earlier run stopped
- tally, progress: counts while it runs, and the summary
"""
