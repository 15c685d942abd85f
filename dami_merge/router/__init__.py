"""Which checkpoint answers a query; importing it costs milliseconds and no torch."""
