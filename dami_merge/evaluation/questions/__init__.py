"""Questions from files, the Hub and generators. Imports no torch."""
