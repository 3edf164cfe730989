"""What an actor does to survive: micro-batching, memory, device check, poison photos, watchdog."""
