"""Reading files of records back: following one that is written, and streams of old ones, compressed too."""
