"""Which model is champion: rules, statistics, the record of decisions, and how aliases move."""
