"""What people read: HTML pages, charts and tables for the terminal."""
