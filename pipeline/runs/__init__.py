"""The one way to make a run: specification, graph, attempts, progress."""
