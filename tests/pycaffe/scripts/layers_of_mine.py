"""Python layers; each call is noted."""

import caffe

CALLS = []


class Noting(caffe.Layer):
    def setup(self, bottom, top):
        CALLS.append(["setup", self.param_str, int(self.phase), len(bottom), len(top)])
        self.scale = float(self.param_str or 2)

    def reshape(self, bottom, top):
        CALLS.append(["reshape", self.param_str, list(bottom[0].shape)])
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        CALLS.append(["forward", self.param_str, float(bottom[0].data.sum())])
        top[0].data[...] = bottom[0].data * self.scale

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff * self.scale


class WithWeights(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(bottom[0].channels)
        self.blobs.add_blob(1, 2)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.blobs[0].data.reshape(1, -1, 1, 1) + self.blobs[1].data[0, 1]


class Pair(caffe.Layer):
    """Two bottoms, two tops, of which one has another shape."""

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("Need two inputs.")

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise ValueError("Inputs must have the same dimension.")
        top[0].reshape(*bottom[0].data.shape)
        top[1].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data - bottom[1].data
        top[1].data[0] = abs(top[0].data).sum()


class Source(caffe.Layer):
    """No bottom: a data layer."""

    def setup(self, bottom, top):
        self.count = 0

    def reshape(self, bottom, top):
        top[0].reshape(2, 3, 4, 4)

    def forward(self, bottom, top):
        self.count += 1
        top[0].data[...] = self.count


class Sink(caffe.Layer):
    """No top."""

    def setup(self, bottom, top):
        self.seen = []

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        self.seen.append(float(bottom[0].data.sum()))


class Growing(caffe.Layer):
    """The shape of its top is known only when it runs."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(1, *bottom[0].data.shape[1:])

    def forward(self, bottom, top):
        count = 1 + int(bottom[0].data[0, 0, 0, 0])
        top[0].reshape(count, *bottom[0].data.shape[1:])
        top[0].data[...] = 1


class InPlace(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + 1


class Failing(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        raise KeyError("inside of a layer")


class WritingItsBottom(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        bottom[0].data[...] = 3
        top[0].data[...] = 4
