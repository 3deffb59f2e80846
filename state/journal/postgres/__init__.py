"""The store in a Postgres database, which workers on many machines share."""
