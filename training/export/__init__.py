"""Models as training has them, their ONNX graphs, the proof that both answer alike, and the bundle."""
