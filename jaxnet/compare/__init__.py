"""Does an optimizer beat plain SGD? A fair protocol, thousands of runs, an honest answer."""
