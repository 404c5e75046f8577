"""The commands behind `zkai`: each module parses its options and calls the pipeline."""
