"""From a run's maps to heats: levels of aggregation, single patches, and what may be asked of which layers."""
