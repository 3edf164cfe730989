"""The table of proof: what of the gain is the object's, against controls and rivals, on photos that chose nothing.

- rows: what is measured; series: on which photos; measuring: one encoder through all of it
- cost: vectors, tower passes, milliseconds and bytes per photo
- quantities: own minus shuffled boxes, and direction alone; conclusions: what they say, in sentences
- tables, figure, page: how it is shown
"""
