"""Results for people: the terminal, pictures and a page."""
