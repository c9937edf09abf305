"""What decides whether a number is right: things that nobody here wrote, or plain loops that use nothing of the package.

- `caffe_layers`: a net given as text, run in real Caffe and as ONNX, every blob compared;
- `caffe_files`: files in the wild, which real Caffe loads itself;
- `caffe_shapes`: the shapes that real Caffe gives the blobs of one-layer nets, and the nets that it refuses;
- `caffe_written`: graphs of any origin, written as Caffe models and run in real Caffe;
- `equivalents`: a fork's layer against stock layers that compute the same, which real Caffe runs;
- `opencv`: layers that real Caffe lacks;
- `loops`: quantized layers as loops over integers.

Models of published packages are in `tests.support.packages`.
"""
