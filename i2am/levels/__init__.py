"""From a run's maps to heats: levels of aggregation, single patches, and which layers can give what."""
