"""Fits linear heads; the only part of the estimators that imports torch."""
