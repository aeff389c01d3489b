"""What is asked of any model, whoever wrote it."""
