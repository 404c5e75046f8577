"""From a trained model to integers: graph, quantisation, training step."""
