"""What every command writes: result folders, records, tables, progress."""
