"""Choose the checkpoint that answers a query; imports in milliseconds and without torch."""
