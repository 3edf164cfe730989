"""Feature sets in the forms of other tools: LanceDB, FAISS, NumPy, `datasets` and tables."""
