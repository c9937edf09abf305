"""Where models run: onnxruntime, real Caffe, OpenCV, and the ONNX of caffe2onnx."""
