"""ONNX Runtime's float32 sums of products, bit for bit: in which order MLAS adds up each element of a result.

A float32 sum depends on its order. MLAS, on x86 with FMA and one thread, has three kernels:

* CHAIN, for all but vectors: K is cut into blocks; in a block one chain of fused multiply-adds from zero, k
  ascending; then each block's sum is added to the result.
* ROWS, a row vector times a matrix: products of 4, then 2, then 1 rows of the matrix are summed up, each
  product and each sum rounded, and then added to the result.
* LANES, a row vector times a transposed matrix (or a matrix times a column vector): lane i of 8 sums up the
  products k = i, i + 8, …, each product and sum rounded; how the lanes are summed up depends on the place of
  the element: results are made four at a time, then two, then one.

With more threads MLAS cuts the work differently, and wide products of great depth may come out different in
the last place; what is meant here by ONNX Runtime's result is that of one thread.

Sources: onnxruntime/core/mlas/lib/{sgemm,convolve}.cpp (MlasSgemmOperation, MlasConvPrepare,
MlasConvOperation) and x86_64/{SgemmKernelM1Avx,SgemmKernelM1TransposeBAvx,FgemmKernelFma3Common}.
"""
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..graph.ir import Kind

Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
T = TypeVar("T")

STRIDE_N = STRIDE_K = 128
"""MLAS's panel of the second operand: MLAS_SGEMM_STRIDEN, MLAS_SGEMM_STRIDEK."""
SMALLEST_NORMAL = 2.0**-126
"""Of float32; below it, a number has fewer bits."""


class Kernel(Enum):
    CHAIN = "chain"
    ROWS = "rows"
    LANES = "lanes"


@dataclass(frozen=True)
class Order:
    """How the products of one result element are summed up.

    blocks : lengths of the slices of K, each summed up on its own and then added to the result
    along_rows, count : for LANES: whether the place that matters is the row of the element (else its column),
        and how many there are
    """

    kernel: Kernel
    blocks: tuple[int, ...]
    along_rows: bool = False
    count: int = 0


def _cut(length: int, step: int) -> tuple[int, ...]:
    return tuple(min(step, length - start) for start in range(0, length, step))


def _stride_k(n: int, k: int) -> int:
    """MLAS trades the width of its panel for depth: wide results in shallow blocks, narrow ones in deep."""
    stride_n, stride_k = STRIDE_N, STRIDE_K
    if n >= k:
        while stride_k // 2 >= k:
            stride_k //= 2
    else:
        while stride_n > 16 and stride_n // 2 >= n:
            stride_n, stride_k = stride_n // 2, 2 * stride_k
    return stride_k


def matrix_order(m: int, n: int, k: int, *, transposed: bool, column_step: int | None = None) -> Order:
    """A product [m, k] x [k, n], or x [n, k] transposed, as MatMul and Gemm take it.

    column_step : elements from one row of the second matrix, as it lies in memory, to the next
    """
    if column_step is None:
        column_step = k if transposed else n
    if m == 1:
        return Order(Kernel.LANES, (k,), False, n) if transposed else Order(Kernel.ROWS, (k,))
    if n == 1 and column_step == 1:
        return Order(Kernel.LANES, (k,), True, m)
    return Order(Kernel.CHAIN, _cut(k, _stride_k(n, k)))


def convolution_order(image: tuple[int, int], kernel: tuple[int, int], result: tuple[int, int], *,
                      depth: int, filters: int, groups: int, stride: tuple[int, int],
                      dilation: tuple[int, int], padding: tuple[int, int, int, int]) -> Order | None:
    """A convolution, of which a group is a product [filters, K] x [K, result's pixels], K = depth, ky, kx.

    depth, filters : input and output channels of one group

    None for the one shape that has a kernel of its own whose order is up to the compiler.
    """
    n, k = result[0] * result[1], depth * kernel[0] * kernel[1]
    if stride == (1, 1) and not any(padding):
        if kernel == (1, 1):
            return matrix_order(filters, n, k, transposed=False)
        if depth == 1 and dilation == (1, 1):
            if kernel[1] == image[1]:
                return matrix_order(filters, n, k, transposed=True, column_step=image[1])
            if kernel == (image[0], 1):
                return matrix_order(filters, n, k, transposed=False, column_step=image[1])
    if filters > n:
        return matrix_order(filters, n, k, transposed=False)
    if (groups > 1 and (depth, filters) == (1, 2) and kernel == (7, 7) and stride == (2, 2)
            and dilation == (1, 1) and padding == (3, 3, 3, 3)):
        return None
    return Order(Kernel.ROWS if filters == 1 else Kernel.CHAIN, _cut(k, _stride_k(n, k)))


def operator_order(options: dict[str, Any], x: tuple[int, ...], w: tuple[int, ...],
                   y: tuple[int, ...]) -> Order | None:
    """Of a float operator by the shapes of its operands and result in the IR.

    options : kind (of the IR), transposed (of Gemm), stride, dilation, padding (of Conv), as Settle has them
    """
    kind = Kind(options["kind"])
    if kind in (Kind.CONV, Kind.DEPTHWISE_CONV):
        depth = 1 if kind == Kind.DEPTHWISE_CONV else w[3]
        groups = x[3] // depth
        return convolution_order((x[1], x[2]), (w[1], w[2]), (y[1], y[2]), depth=depth,
                                 filters=y[3] // groups, groups=groups, stride=options["stride"],
                                 dilation=options["dilation"], padding=options["padding"])
    if kind == Kind.FULLY_CONNECTED:
        return matrix_order(prod(x) // w[1], w[0], w[1], transposed=options["transposed"])
    rows = x[-2] if prod(w[:-2]) > 1 else prod(x[:-1])  # a single second matrix: all rows at once
    return matrix_order(rows, w[-1], w[-2], transposed=options["transposed"])


# The sums themselves, of values or of whatever else can be added up: see float_bound.py

class Arithmetic(Protocol[T]):
    """What the products of a result are to be, and how numbers are added; all operations round once."""

    def product(self, k: int) -> T: ...

    def chain(self, ks: range) -> T:
        """Products added one after the other, each rounded together with the sum so far."""

    def add(self, a: T, b: T) -> T: ...

    def by_place(self, four: T, two: T, one: T) -> T:
        """For LANES: sums as for elements that are made four, two or one at a time."""


def sum_up(order: Order, on: Arithmetic[T], start: T | None = None) -> T:
    """A result by its order; ``start`` is in it beforehand (None: nothing)."""
    total, first = start, 0
    for length in order.blocks:
        ks = range(first, first + length)
        first += length
        if order.kernel == Kernel.ROWS:
            for some in _fours(ks):
                total = _plus(on, reduce(on.add, [on.product(k) for k in some]), total)
        else:
            block = on.chain(ks) if order.kernel == Kernel.CHAIN else _lanes(ks, on)
            total = _plus(on, block, total)
    assert total is not None, "no products"
    return total


def _plus(on: Arithmetic[T], a: T, b: T | None) -> T:
    return a if b is None else on.add(a, b)


def _fours(ks: range) -> list[range]:
    """Four by four; what remains two by two, then one by one."""
    tail = len(ks) // 4 * 4
    pieces = [ks[i:i + 4] for i in range(0, tail, 4)] + [ks[tail:][:2]] * (len(ks) % 4 > 1) + [ks[-1:]]
    return pieces if len(ks) % 2 else pieces[:-1]


def _lanes(ks: range, on: Arithmetic[T]) -> T:
    lanes = [reduce(on.add, [on.product(k) for k in ks[lane::8]]) if lane < len(ks) else None
             for lane in range(8)]

    def plus(a: T | None, b: T | None) -> T | None:
        return b if a is None else _plus(on, a, b)

    low, high = lanes[:4], lanes[4:]
    four = plus(reduce(plus, low), reduce(plus, high))
    two = plus(*(plus(plus(low[i], low[i + 2]), plus(high[i], high[i + 2])) for i in (0, 1)))
    one = plus(*(plus(plus(a[0], a[1]), plus(a[2], a[3])) for a in (low, high)))
    assert four is not None and two is not None and one is not None
    return on.by_place(four, two, one)


def fused(a: Singles, b: Singles, c: Singles) -> Singles:
    """a * b + c rounded once.

    The product is exact in float64. Its sum with c is rounded to odd there (what TwoSum leaves over says
    which way), after which rounding to float32 is as if from the exact sum (Boldo & Melquiond, 2008).
    """
    product, addend = a.astype(np.float64) * b, c.astype(np.float64)
    total = product + addend
    part = total - product
    left = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    even = (left != 0) & (bits & 1 == 0)
    bits += even * np.where((left > 0) == (total > 0), 1, -1)
    return total.astype(np.float32)


@dataclass(frozen=True)
class Values:
    """Float32 arithmetic on n elements at once: factors a, b [K, n]; each element's place among ``count``."""

    a: Singles
    b: Singles
    place: Ints
    count: int

    def product(self, k: int) -> Singles:
        product: Singles = self.a[k] * self.b[k]
        return product

    def chain(self, ks: range) -> Singles:
        """Exact products added in float64, then rounded: twice rounded. Only where the first rounding ended
        halfway between two float32 numbers can that differ from once; such sums are done again."""
        a, b = (factor[ks[0]:ks[-1] + 1] for factor in (self.a, self.b))
        sums = a.astype(np.float64) * b
        total: Singles = sums[0].astype(np.float32)
        for row in sums[1:]:
            row += total
            total = row.astype(np.float32)
        halfway = (sums.view(np.int64) & (2**29 - 1)) == 2**28
        again = (halfway | ((np.abs(sums) < SMALLEST_NORMAL) & (sums != 0))).any(axis=0)
        if again.any():
            careful = np.zeros(np.count_nonzero(again), np.float32)
            for x, y in zip(a[:, again], b[:, again], strict=True):
                careful = fused(x, y, careful)
            total[again] = careful
        return total

    def add(self, a: Singles, b: Singles) -> Singles:
        return a + b

    def by_place(self, four: Singles, two: Singles, one: Singles) -> Singles:
        return np.where(self.place < self.count // 4 * 4, four,
                        np.where(self.place < self.count // 2 * 2, two, one))


def dot(order: Order, a: Singles, b: Singles, row: Ints, column: Ints,
        start: Singles | None = None) -> Singles:
    """Sums over the last axis of a[n, K] * b[n, K], for elements of the result at ``row``, ``column``."""
    place = row if order.along_rows else column
    values = Values(np.ascontiguousarray(a.T), np.ascontiguousarray(b.T), place, order.count)
    return sum_up(order, values, start)
