"""EZKL (Halo2 with KZG) as the second proving backend: any ONNX graph, a universal setup."""
