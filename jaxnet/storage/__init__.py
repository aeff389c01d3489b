"""One way to write arrays with a record of what they are."""
