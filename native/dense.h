// Dense layers over rows of lanes. A row has NV vectors, with one sample per lane.
//
// out[u] = bias[u] + sum_k weight[u][k] in[k] keeps a tile of outputs in registers while it walks over k, each
// weight broadcast to all lanes. Weights are packed so that a tile reads them in one run.
#pragma once

#include "vec.h"

namespace torchliquid::TORCHLIQUID_ISA {

// Rows of the output tile, for NV vectors per row: as many as fit in the registers.
template <int NV>
constexpr int kTile = kManyRegisters ? (NV == 1 ? 14 : 12) : (NV == 1 ? 10 : 5);

template <int NV>
constexpr int64_t packed_size(int64_t outputs, int64_t inputs) {
  return (outputs + kTile<NV> - 1) / kTile<NV> * kTile<NV> * (inputs + 1);
}

// Packs weight[u * row_stride + k * column_stride] and bias (or none) for `dense`: for each tile the biases, then
// for each k the tile's weights.
template <int NV>
void pack(float* packed, const float* weight, const float* bias, int outputs, int inputs, int64_t row_stride,
          int64_t column_stride) {
  constexpr int M = kTile<NV>;
  for (int u0 = 0; u0 < outputs; u0 += M) {
    for (int m = 0; m < M; ++m) *packed++ = bias && u0 + m < outputs ? bias[u0 + m] : 0.0f;
    for (int k = 0; k < inputs; ++k)
      for (int m = 0; m < M; ++m)
        *packed++ = u0 + m < outputs ? weight[(u0 + m) * row_stride + k * column_stride] : 0.0f;
  }
}

template <int NV, int M>
TL_INLINE void dense_tile(float* out, const float* in, const float* packed, int inputs) {
  constexpr int L = NV * kWidth;
  V sum[M][NV];
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < NV; ++v) sum[m][v] = broadcast(packed[m]);
  packed += kTile<NV>;
  for (int k = 0; k < inputs; ++k, in += L, packed += kTile<NV>) {
    V x[NV];
    for (int v = 0; v < NV; ++v) x[v] = load(in + v * kWidth);
    for (int m = 0; m < M; ++m) {
      V w = broadcast(packed[m]);
      for (int v = 0; v < NV; ++v) sum[m][v] += w * x[v];
    }
  }
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < NV; ++v) store(out + m * L + v * kWidth, sum[m][v]);
}

// Calls f with `n` as a compile-time constant, 1 <= n <= Max.
template <int Max, class F>
TL_INLINE void with_constant(int n, F f) {
  if constexpr (Max == 1) {
    f(std::integral_constant<int, 1>{});
  } else {
    if (n == Max)
      f(std::integral_constant<int, Max>{});
    else
      with_constant<Max - 1>(n, f);
  }
}

template <int NV>
void dense(float* out, const float* in, const float* packed, int outputs, int inputs) {
  constexpr int L = NV * kWidth, M = kTile<NV>;
  int u = 0;
  for (; u + M <= outputs; u += M, packed += M * (inputs + 1)) dense_tile<NV, M>(out + u * L, in, packed, inputs);
  if (u < outputs)
    with_constant<M - 1>(outputs - u, [&](auto m) { dense_tile<NV, m.value>(out + u * L, in, packed, inputs); });
}

// Gradient of a dense layer's weights: weight[u * inputs + k] += sum over steps and lanes of grad[u] in[k]. The rows of
// a step are `stride` floats after those of the previous step.
//
// The sum runs over the lanes. So the inputs are transposed first, a few columns k at a time: lane after lane, with the
// values of k next to each other. Then a tile of weights stays in registers while it walks over all lanes of all steps,
// each gradient is broadcast, and no sum across lanes is needed.
constexpr int kTurned = kManyRegisters ? 3 : 2;  // vectors of k in a tile
constexpr int kOuter = kManyRegisters ? 8 : 5;   // rows u in a tile

template <int NV>
constexpr int64_t turned_size(int steps) {
  return int64_t(steps) * NV * kWidth * kTurned * kWidth;
}

template <int NV, int K>
TL_INLINE void turn(float* turned, const float* in, int columns, int64_t stride, int steps) {
  constexpr int L = NV * kWidth;
  for (int t = 0; t < steps; ++t, in += stride, turned += L * K * kWidth)
    for (int v = 0; v < NV; ++v)
      for (int j = 0; j < K; ++j) {
        V x[kWidth];
        for (int i = 0; i < kWidth; ++i) {
          const int k = j * kWidth + i;
          x[i] = k < columns ? load(in + k * L + v * kWidth) : zero();
        }
        transpose(x);
        for (int lane = 0; lane < kWidth; ++lane) store(turned + ((v * kWidth + lane) * K + j) * kWidth, x[lane]);
      }
}

template <int NV, int M, int K>
TL_INLINE void outer_tile(float* weight, int inputs, int columns, const float* grad, const float* turned, int64_t stride,
                          int steps) {
  constexpr int L = NV * kWidth;
  V sum[M][K] = {};
  for (int t = 0; t < steps; ++t, grad += stride)
    for (int lane = 0; lane < L; ++lane, turned += K * kWidth) {
      V x[K];
      for (int j = 0; j < K; ++j) x[j] = load(turned + j * kWidth);
      for (int m = 0; m < M; ++m) {
        V g = broadcast(grad[m * L + lane]);
        for (int j = 0; j < K; ++j) sum[m][j] += g * x[j];
      }
    }
  for (int m = 0; m < M; ++m)
    for (int j = 0; j < K; ++j) {
      const int left = columns - j * kWidth, count = left < kWidth ? left : kWidth;
      float* to = weight + m * inputs + j * kWidth;
      store_first(to, load_first(to, count) + sum[m][j], count);
    }
}

// `turned` is workspace of turned_size<NV>(steps).
template <int NV>
void outer(float* weight, const float* grad, int outputs, const float* in, int inputs, int64_t stride, int steps,
           float* turned) {
  constexpr int L = NV * kWidth, M = kOuter;
  for (int k = 0; k < inputs; k += kTurned * kWidth) {
    const int columns = inputs - k < kTurned * kWidth ? inputs - k : kTurned * kWidth;
    with_constant<kTurned>((columns + kWidth - 1) / kWidth, [&](auto vectors) {
      constexpr int K = vectors.value;
      turn<NV, K>(turned, in + k * L, columns, stride, steps);
      int u = 0;
      for (; u + M <= outputs; u += M)
        outer_tile<NV, M, K>(weight + int64_t(u) * inputs + k, inputs, columns, grad + u * L, turned, stride, steps);
      if (u < outputs)
        with_constant<M - 1>(outputs - u, [&](auto m) {
          outer_tile<NV, m.value, K>(weight + int64_t(u) * inputs + k, inputs, columns, grad + u * L, turned, stride, steps);
        });
    });
  }
}

// Gradient of its bias: bias[u] += sum over steps and lanes of grad[u].
template <int NV>
void add_lane_sums(float* sums, const float* rows, int n, int64_t stride, int steps) {
  constexpr int L = NV * kWidth;
  for (int u = 0; u < n; ++u) {
    V sum[1] = {};
    for (int t = 0; t < steps; ++t)
      for (int v = 0; v < NV; ++v) sum[0] += load(rows + t * stride + u * L + v * kWidth);
    float total[1];
    lane_sums<1>(sum, total);
    sums[u] += total[0];
  }
}

}  // namespace torchliquid::TORCHLIQUID_ISA
