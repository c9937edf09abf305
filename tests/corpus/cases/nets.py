"""Network definitions whose layers make no net; the weights beside them are those of the small valid model."""

from __future__ import annotations

from tests.corpus.cases.pieces import DATA, RELU, convolution, input_of, layer_of, net_case

__all__ = ["CASES"]

_PRELU = 'layer { name: "slope" type: "PReLU" bottom: "data" top: "slope" }\n'
_NET = (
    net_case("no-layers", 'name: "x"', "FormatError", "holds no layer"),
    net_case(
        "duplicate-names",
        DATA + _PRELU + _PRELU.replace('top: "slope"', 'top: "other"'),
        "ModelError",
        "Caffe fills only the first",
    ),
    net_case(
        "cycle",
        DATA
        + 'layer { name: "a" type: "ReLU" bottom: "b" top: "c" }\nlayer { name: "b" type: "ReLU" bottom: "c" top: "b" }',
        "ModelError",
        "is made by no earlier layer",
    ),
    net_case(
        "reads-itself",
        DATA + 'layer { name: "a" type: "ReLU" bottom: "a" top: "a" }',
        "ModelError",
        "is made by no earlier layer",
    ),
    net_case(
        "top-twice",
        DATA + RELU + 'layer { name: "b" type: "ReLU" bottom: "data" top: "relu" }',
        "ModelError",
        "is made by an earlier layer too",
    ),
    net_case(
        "top-twice-in-layer",
        DATA + 'layer { name: "s" type: "Split" bottom: "data" top: "a" top: "a" }',
        "ModelError",
        "is made by an earlier layer too",
    ),
    net_case("no-inputs", 'layer { name: "a" type: "ReLU" }', "ModelError", "has 0 inputs"),
    net_case("no-type", DATA + 'layer { name: "a" bottom: "data" top: "a" }', "ModelError", "has no type"),
    net_case(
        "no-name",
        DATA + 'layer { type: "PReLU" bottom: "data" top: "a" }',
        "ModelError",
        "has no name, and weights are stored by name",
    ),
    net_case(
        "blob-at-layer",
        DATA
        + 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }\nlayer { name: "q" type: "ReLU" bottom: "data" top: "data@input" }',
        "ModelError",
        "has overwritten in place",
    ),
    net_case(
        "input-dims-missing",
        'input: "data"\ninput_dim: 1\ninput_dim: 3\n' + RELU,
        "ModelError",
        "expected 4 for each input",
    ),
    net_case("dim-zero", input_of(2, 0, 12, 12) + RELU, "ModelError", "every size must be positive"),
    net_case("dim-negative", input_of(2, -3, 12, 12) + RELU, "ModelError", "every size must be positive"),
    net_case("dim-minimum", input_of(-(2**63)) + RELU, "ModelError", "every size must be positive"),
    net_case("dims-huge", input_of(1, 3, 2**31, 2**31) + RELU, "ModelError", "2147483647"),
    net_case("dims-overflow-to-small", input_of(2**32, 2**32, 1, 1) + RELU, "ModelError", "2147483647"),
    net_case("dims-maximum", input_of(*[2**63 - 1] * 8) + RELU, "ModelError", "2147483647"),
    net_case("dims-many", input_of(*[1] * 100) + RELU, "ModelError", "32"),
    net_case("dims-1000", input_of(*[2] * 5000) + RELU, "ModelError", "32"),
    net_case("kernel-zero", DATA + convolution("num_output: 8 kernel_size: 0"), "ModelError", "must be positive"),
    net_case(
        "stride-zero", DATA + convolution("num_output: 8 kernel_size: 3 stride: 0"), "ModelError", "must be positive"
    ),
    net_case(
        "pool-stride-zero",
        DATA + layer_of("Pooling", "pooling_param { kernel_size: 2 stride: 0 }"),
        "ModelError",
        "must be positive",
    ),
    net_case(
        "pool-pad-large",
        DATA + layer_of("Pooling", "pooling_param { kernel_size: 2 pad: 5 }"),
        "ModelError",
        "is not smaller than kernel",
    ),
    net_case(
        "pool-kernel-huge",
        DATA + layer_of("Pooling", "pooling_param { kernel_size: 4294967295 }"),
        "ModelError",
        "the kernel exceeds the padded input",
    ),
    net_case(
        "pad-huge",
        DATA + layer_of("Im2col", "convolution_param { kernel_size: 1 pad: 2147483647 }"),
        "ModelError",
        "2147483647",
    ),
    net_case(
        "kernel-beyond-input",
        DATA + convolution("num_output: 8 kernel_size: 99 bias_term: false"),
        "ModelError",
        "parameters have shapes",
    ),
    net_case(
        "group-does-not-divide",
        DATA + convolution("num_output: 8 kernel_size: 3 group: 2 bias_term: false"),
        "ModelError",
        "does not divide",
    ),
    net_case(
        "group-zero", DATA + convolution("num_output: 8 kernel_size: 3 group: 0"), "ModelError", "must be positive"
    ),
    net_case("axis-far", DATA + layer_of("Softmax", "softmax_param { axis: 9 }"), "ModelError", "axis 9"),
    net_case("axis-minimum", DATA + layer_of("Flatten", "flatten_param { axis: -2147483648 }"), "ModelError", "axis"),
    net_case(
        "inner-product-huge",
        DATA + layer_of("InnerProduct", "inner_product_param { num_output: 4294967295 }", "fc"),
        "ModelError",
        "parameters have shapes",
    ),
    net_case(
        "slice-points-fall",
        DATA
        + 'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" top: "c" slice_param { slice_point: 2 slice_point: 1 } }',
        "ModelError",
        "are not ascending",
    ),
    net_case(
        "slice-does-not-divide",
        DATA + 'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" }',
        "ModelError",
        "cannot be cut into 2 equal parts",
    ),
    net_case(
        "reshape-two-unknown",
        DATA + layer_of("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }"),
        "ModelError",
        "at most one -1",
    ),
    net_case(
        "reshape-zero",
        DATA + layer_of("Reshape", "reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 dim: 0 } }"),
        "ModelError",
        "where the input has no axis",
    ),
    net_case(
        "reshape-overflow",
        DATA + layer_of("Reshape", f"reshape_param {{ shape {{ dim: {2**62} dim: 4 dim: -1 }} }}"),
        "ModelError",
        "cannot fill",
    ),
    net_case(
        "reshape-many",
        DATA + layer_of("Reshape", "reshape_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 " + "dim: 1 " * 100 + "} }"),
        "ModelError",
        "32",
    ),
    net_case("tile-huge", DATA + layer_of("Tile", "tile_param { tiles: 2147483647 }"), "ModelError", "2147483647"),
    net_case("tile-negative", DATA + layer_of("Tile", "tile_param { tiles: -1 }"), "ModelError", "must be positive"),
    net_case(
        "spp-high",
        DATA + layer_of("SPP", "spp_param { pyramid_height: 4294967295 }"),
        "ModelError",
        "pyramid_height 4294967295",
    ),
    net_case("spp-40", DATA + layer_of("SPP", "spp_param { pyramid_height: 40 }"), "ModelError", "pyramid_height 40"),
    net_case(
        "interp-huge", DATA + layer_of("Interp", "interp_param { zoom_factor: 2147483647 }"), "ModelError", "2147483647"
    ),
    net_case(
        "interp-shrink-all",
        DATA + layer_of("Interp", "interp_param { shrink_factor: 100 pad_beg: -6 pad_end: -6 }"),
        "ModelError",
        "is left after cropping",
    ),
    net_case(
        "upsample-huge", DATA + layer_of("Upsample", "upsample_param { scale: 2147483647 }"), "ModelError", "2147483647"
    ),
    net_case(
        "permute-twice",
        DATA + layer_of("Permute", "permute_param { order: 0 order: 0 order: 1 order: 2 }"),
        "ModelError",
        "is no choice of the 4 axes",
    ),
    net_case(
        "permute-far",
        DATA + layer_of("Permute", "permute_param { order: 99 }"),
        "ModelError",
        "is no choice of the 4 axes",
    ),
    net_case(
        "crop-beyond",
        DATA
        + 'layer { name: "i" type: "Input" top: "i" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 } } }\nlayer { name: "c" type: "Crop" bottom: "data" bottom: "i" top: "c" crop_param { axis: 2 offset: 4000000000 } }',
        "ModelError",
        "cannot take 12 from 12",
    ),
    net_case(
        "concat-mismatch",
        DATA
        + 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 } }\nlayer { name: "c" type: "Concat" bottom: "data" bottom: "p" top: "c" }',
        "ModelError",
        "inputs differ outside axis 1",
    ),
    net_case(
        "eltwise-coefficients",
        DATA + layer_of("Eltwise", "eltwise_param { coeff: 1 coeff: 2 coeff: 3 }"),
        "ModelError",
        "has 1 inputs",
    ),
    net_case("lrn-even", DATA + layer_of("LRN", "lrn_param { local_size: 4 }"), "ModelError", "must be odd"),
    net_case(
        "parameter-huge",
        DATA
        + 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2147483647 dim: 2147483647 } } }',
        "ModelError",
        "has no entry",
    ),
    net_case(
        "recurrent-huge",
        'layer { name: "x" type: "Input" top: "x" top: "c" input_param { shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 } } }\nlayer { name: "l" type: "LSTM" bottom: "x" bottom: "c" top: "l" recurrent_param { num_output: 4294967295 } }',
        "ModelError",
        "has no entry",
    ),
    net_case(
        "include-and-exclude",
        DATA
        + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a" include { phase: TEST } exclude { phase: TRAIN } }',
        "ModelError",
        "include and exclude",
    ),
    net_case(
        "training-without-shape",
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "/etc/passwd" batch_size: 2 } }\n'
        + RELU,
        "ModelError",
        "does not say the shape",
    ),
    net_case(
        "batch-size-no-number",
        'layer { name: "d" type: "Data" top: "data" data_param { batch_size: 0x } }\n' + RELU,
        "ModelError",
        "batch_size is 0x",
    ),
)

CASES = _NET
