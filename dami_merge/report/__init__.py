"""Results as pages that open anywhere, and as figures for papers. Measures nothing."""
