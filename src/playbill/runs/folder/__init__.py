"""What a run writes: its folder, with the manifest and a file of records for each model."""
