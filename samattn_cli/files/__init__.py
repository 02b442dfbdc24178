"""Files that people write: YAML 1.2 with places, the sources of files, `extends`, and loading a config."""
