"""What `import pipeline` offers: a function or class per task, on top of all other rooms."""
