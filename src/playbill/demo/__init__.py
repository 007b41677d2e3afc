"""The files that `playbill demo` puts into a folder: dialogues, and registries that show entries. Data only."""
