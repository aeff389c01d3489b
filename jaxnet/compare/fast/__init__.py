"""The rewriting of products that makes many small runs fast on a CPU."""
