"""Fit, export to ONNX, prove parity, package."""
