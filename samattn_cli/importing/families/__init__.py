"""What each family's descriptions and checkpoints say, a file each; nothing lists them."""
