"""Data that models are fed."""
