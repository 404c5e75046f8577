"""Aggregation among parties that do not trust each other: clients, aggregator, key holders."""
