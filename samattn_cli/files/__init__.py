"""Files that people write: YAML 1.2 with places, where files come from, `extends`, and what loads a config."""
