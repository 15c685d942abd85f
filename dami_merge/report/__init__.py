"""Results as self-contained pages, and as figures for papers. Measures nothing."""
