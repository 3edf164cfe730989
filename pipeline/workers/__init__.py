"""What an actor needs to survive: micro-batches, memory, device check, time limits, photos that kill processes."""
