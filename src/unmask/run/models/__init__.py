"""Opening a model: a function, an exported program, an ONNX file or transformers weights."""
