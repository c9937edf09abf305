"""The operator set, one module for each family (`nuqconv.ir.families`); all that they name as public is public here."""

from __future__ import annotations

from nuqconv.ir.ops.activation import *
from nuqconv.ir.ops.base import *
from nuqconv.ir.ops.binary import *
from nuqconv.ir.ops.convolution import *
from nuqconv.ir.ops.custom import *
from nuqconv.ir.ops.detection import *
from nuqconv.ir.ops.elementwise import *
from nuqconv.ir.ops.matrix import *
from nuqconv.ir.ops.merge import *
from nuqconv.ir.ops.normalization import *
from nuqconv.ir.ops.picking import *
from nuqconv.ir.ops.pooling import *
from nuqconv.ir.ops.quantization import *
from nuqconv.ir.ops.recurrent import *
from nuqconv.ir.ops.reduction import *
from nuqconv.ir.ops.regions import *
from nuqconv.ir.ops.resize import *
from nuqconv.ir.ops.shape import *
from nuqconv.ir.ops.weighted import *
