"""A folder for the module search path of processes in which ``import amct_caffe`` means `nuqconv.compat`."""
