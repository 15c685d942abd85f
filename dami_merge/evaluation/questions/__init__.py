"""Questions from files, the Hub and generators. Never imports torch."""
