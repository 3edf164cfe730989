"""The Ray cluster: session, machines, actor pools, waiting, rescaling."""
