"""Writing columns: rows of tables as documents, inserted, upserted or replaced."""
