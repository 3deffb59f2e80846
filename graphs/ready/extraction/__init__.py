"""Information extraction: a text becomes typed records of people, organisations and places."""
