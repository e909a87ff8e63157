"""One file for each change of the schema, applied in the order of their numbers and never edited once released."""
