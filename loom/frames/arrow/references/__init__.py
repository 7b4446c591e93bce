"""References in columns: what ids stand for, as struct columns."""
