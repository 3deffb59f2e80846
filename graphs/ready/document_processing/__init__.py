"""Document processing: extract fields, validate them, extract again with guidance, then summarise."""
