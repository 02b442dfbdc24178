"""The gate of a CI: thresholds, baselines, waivers, what a change did. Nothing but `cli` imports it."""
