"""Functions that are inlined into the kernels of all cells: maps of a state, and the memory of mixed-memory networks.

A program runs one sequence after another; its state is a vector in registers. A matrix, whose rows are its outputs, is
a tile in registers, or is read in pieces at every step if it is too large for them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def tile(matrix, row0, column0, ROWS: tl.constexpr, COLUMNS: tl.constexpr, rows, columns):
    """The block of a matrix (rows, columns) that starts at (row0, column0), zero outside the matrix."""
    i, j = row0 + tl.arange(0, ROWS)[:, None], column0 + tl.arange(0, COLUMNS)[None, :]
    return tl.load(matrix + i * columns + j, mask=(i < rows) & (j < columns), other=0.0)


@triton.jit
def tile4(matrix, row0, column0, ROWS: tl.constexpr, COLUMNS: tl.constexpr, rows, columns):
    """The same block of four matrices, one below the other."""
    w0 = tile(matrix, row0, column0, ROWS, COLUMNS, rows, columns)
    w1 = tile(matrix + rows * columns, row0, column0, ROWS, COLUMNS, rows, columns)
    w2 = tile(matrix + 2 * rows * columns, row0, column0, ROWS, COLUMNS, rows, columns)
    return w0, w1, w2, tile(matrix + 3 * rows * columns, row0, column0, ROWS, COLUMNS, rows, columns)


@triton.jit
def piece(x, start, SIZE: tl.constexpr):
    """Elements of a vector, from ``start`` on."""
    return tl.gather(x, start + tl.arange(0, SIZE), 0)


@triton.jit
def apply1(w, x):
    return tl.sum(w * x[None, :], 1)


@triton.jit
def apply4(w0, w1, w2, w3, x):
    """Four maps of one vector."""
    return apply1(w0, x), apply1(w1, x), apply1(w2, x), apply1(w3, x)


@triton.jit
def transposed1(w, y):
    return tl.sum(w * y[:, None], 0)


@triton.jit
def transposed4(w0, w1, w2, w3, y0, y1, y2, y3):
    return tl.sum(w0 * y0[:, None] + w1 * y1[:, None] + w2 * y2[:, None] + w3 * y3[:, None], 0)


@triton.jit
def read1(matrix, x, J: tl.constexpr, K: tl.constexpr, JP: tl.constexpr, KP: tl.constexpr, PIECE: tl.constexpr):
    """A matrix (J, K) times x. The matrix is read in pieces."""
    y = tl.zeros([JP], tl.float32)
    for k in range(0, K, PIECE):
        y += apply1(tile(matrix, 0, k, JP, PIECE, J, K), piece(x, k, PIECE))
    return y


@triton.jit
def read4(matrix, x, J: tl.constexpr, K: tl.constexpr, JP: tl.constexpr, KP: tl.constexpr, PIECE: tl.constexpr):
    """Four matrices (J, K), one below the other, times x."""
    y0 = tl.zeros([JP], tl.float32)
    y1, y2, y3 = y0, y0, y0
    for k in range(0, K, PIECE):
        w0, w1, w2, w3 = tile4(matrix, 0, k, JP, PIECE, J, K)
        z0, z1, z2, z3 = apply4(w0, w1, w2, w3, piece(x, k, PIECE))
        y0, y1, y2, y3 = y0 + z0, y1 + z1, y2 + z2, y3 + z3
    return y0, y1, y2, y3


@triton.jit
def read_transposed1(
    matrix, y, J: tl.constexpr, K: tl.constexpr, JP: tl.constexpr, KP: tl.constexpr, PIECE: tl.constexpr
):
    x = tl.zeros([KP], tl.float32)
    for j in range(0, J, PIECE):
        x += transposed1(tile(matrix, j, 0, PIECE, KP, J, K), piece(y, j, PIECE))
    return x


@triton.jit
def read_transposed4(
    matrix, y0, y1, y2, y3, J: tl.constexpr, K: tl.constexpr, JP: tl.constexpr, KP: tl.constexpr, PIECE: tl.constexpr
):
    x = tl.zeros([KP], tl.float32)
    for j in range(0, J, PIECE):
        w0, w1, w2, w3 = tile4(matrix, j, 0, PIECE, KP, J, K)
        z0, z1, z2, z3 = piece(y0, j, PIECE), piece(y1, j, PIECE), piece(y2, j, PIECE), piece(y3, j, PIECE)
        x += transposed4(w0, w1, w2, w3, z0, z1, z2, z3)
    return x


@triton.jit
def load4(at, j, J, own):
    """Elements j of four vectors of length J, side by side in memory."""
    x0 = tl.load(at + j, mask=own, other=0.0)
    x1 = tl.load(at + J + j, mask=own, other=0.0)
    x2 = tl.load(at + 2 * J + j, mask=own, other=0.0)
    return x0, x1, x2, tl.load(at + 3 * J + j, mask=own, other=0.0)


@triton.jit
def store4(at, x0, x1, x2, x3, j, J, own):
    tl.store(at + j, x0, mask=own)
    tl.store(at + J + j, x1, mask=own)
    tl.store(at + 2 * J + j, x2, mask=own)
    tl.store(at + 3 * J + j, x3, mask=own)


@triton.jit
def remember(drive, weight, gates, cells, row, h, c, H: tl.constexpr, HP: tl.constexpr, PIECE: tl.constexpr):
    """One step of the memory (:func:`torchliquid.cells.memory.lstm_step`): the new (h, c). ``gates``: where the gates
    before their activations are stored, or None."""
    j = tl.arange(0, HP)
    own = j < H
    i, g, f, o = read4(weight, h, H, H, HP, HP, PIECE)
    di, dg, df, do = load4(drive + row * 4 * H, j, H, own)
    i, g, f, o = i + di, g + dg, f + df, o + do
    if gates is not None:
        store4(gates + row * 4 * H, i, g, f, o, j, H, own)
    c = tl.sigmoid(f + 1) * c + tl.sigmoid(g) * tanh(i)
    tl.store(cells + row * H + j, c, mask=own)
    return tl.sigmoid(o) * tanh(c), c


@triton.jit
def begin(before, cell, drive, lengths, b, j, time, H: tl.constexpr, own):
    """The state of sequence b, its memory's cell (the state again if ``drive`` is None), and its number of samples."""
    h = tl.load(before + b * H + j, mask=own, other=0.0)
    c = h
    if drive is not None:
        c = tl.load(cell + b * H + j, mask=own, other=0.0)
    n = time
    if lengths is not None:
        n = tl.load(lengths + b)
    return h, c, n


@triton.jit
def enter(reset, drive, memory, gates, cells, row, h, c, H: tl.constexpr, HP: tl.constexpr, PIECE: tl.constexpr):
    """The (h, c) that the cell's step starts from: zeros if the sample resets the state, then a step of the memory."""
    if reset is not None:
        kept = tl.load(reset + row) == 0
        h, c = tl.where(kept, h, 0.0), tl.where(kept, c, 0.0)
    if drive is not None:
        h, c = remember(drive, memory, gates, cells, row, h, c, H, HP, PIECE)
    return h, c


@triton.jit
def finish(states, cells, drive, lengths, b, h, c, n, j, time, H: tl.constexpr, own):
    """Repeat the last state, and cell, after the end of a sequence."""
    if lengths is not None:
        for t in range(n, time):
            row = (b * time + t).to(tl.int64)
            tl.store(states + row * H + j, h, mask=own)
            if drive is not None:
                tl.store(cells + row * H + j, c, mask=own)


@triton.jit
def remember_back(
    gates, cell_before, weight, to_drive, row, dh, dc, H: tl.constexpr, HP: tl.constexpr, PIECE: tl.constexpr
):
    """The gradients of the memory's previous (h, c) from those of the new ones. That of its drive is stored."""
    j = tl.arange(0, HP)
    own = j < H
    i, g, f, o = load4(gates + row * 4 * H, j, H, own)
    c = tl.load(cell_before + row * H + j, mask=own, other=0.0)
    i, g, f, o = tanh(i), tl.sigmoid(g), tl.sigmoid(f + 1), tl.sigmoid(o)
    out = tanh(f * c + g * i)
    do = dh * out * o * (1 - o)
    dc += dh * o * (1 - out * out)
    di, dg, df = dc * g * (1 - i * i), dc * i * g * (1 - g), dc * c * f * (1 - f)
    store4(to_drive + row * 4 * H, di, dg, df, do, j, H, own)
    return read_transposed4(weight, di, dg, df, do, H, H, HP, HP, PIECE), dc * f


@triton.jit
def arrive_back(grad_states, grad_cells, row, dh, dc, j, H: tl.constexpr, own):
    """Add the gradients of a sample's own state and cell."""
    dh += tl.load(grad_states + row * H + j, mask=own, other=0.0)
    if grad_cells is not None:
        dc += tl.load(grad_cells + row * H + j, mask=own, other=0.0)
    return dh, dc


@triton.jit
def enter_back(
    reset, gates, cell_before, memory, to_drive, row, dh, dc, H: tl.constexpr, HP: tl.constexpr, PIECE: tl.constexpr
):
    """The gradients of the previous (h, c) from those of the results of :func:`enter`."""
    if gates is not None:
        dh, dc = remember_back(gates, cell_before, memory, to_drive, row, dh, dc, H, HP, PIECE)
    if reset is not None:
        kept = tl.load(reset + row) == 0
        dh, dc = tl.where(kept, dh, 0.0), tl.where(kept, dc, 0.0)
    return dh, dc


@triton.jit
def finish_back(to_state, to_cell, grad_cells, b, dh, dc, j, H: tl.constexpr, own):
    """Store the gradients of a sequence's first state and cell."""
    tl.store(to_state + b * H + j, dh, mask=own)
    if grad_cells is not None:
        tl.store(to_cell + b * H + j, dc, mask=own)
