"""Export to ONNX, and inference with the exported model."""
