"""A folder for the module search path of processes in which ``import caffe`` means `nuqconv.pycaffe`."""
