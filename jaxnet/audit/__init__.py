"""Is a gradient right? The verdict, the known mistakes and finite differences."""
