"""The rewriting of small products that makes many small runs fast on a CPU."""
