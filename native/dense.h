// Dense layers over rows of lanes: a row is NV vectors, one lane a sample.
//
// out[u] = bias[u] + sum_k weight[u][k] in[k] keeps a tile of outputs in registers while it walks over k, each
// weight broadcast to all lanes. Weights are packed so that a tile reads them in one run.
#pragma once

#include "vec.h"

namespace torchliquid::TORCHLIQUID_ISA {

// Rows of the output tile for NV vectors a row: as many as the registers hold.
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

// Calls f with the constant that `n` is, 1 <= n <= Max.
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

// Gradient of a dense layer's weights: weight[u * inputs + k] += sum over steps and lanes of grad[u] in[k]; rows of
// one step lie `stride` floats after those of the step before.
template <int NV, int M, int K>
TL_INLINE void outer_tile(float* weight, int inputs, const float* grad, const float* in, int64_t stride, int steps) {
  constexpr int L = NV * kWidth;
  V sum[M * K] = {};
  for (int t = 0; t < steps; ++t, grad += stride, in += stride)
    for (int v = 0; v < NV; ++v) {
      V x[K];
      for (int k = 0; k < K; ++k) x[k] = load(in + k * L + v * kWidth);
      for (int m = 0; m < M; ++m) {
        V g = load(grad + m * L + v * kWidth);
        for (int k = 0; k < K; ++k) sum[m * K + k] += g * x[k];
      }
    }
  float sums[M * K];
  all_lane_sums<M * K>(sum, sums);
  for (int m = 0; m < M; ++m)
    for (int k = 0; k < K; ++k) weight[m * inputs + k] += sums[m * K + k];
}

template <int NV>
void outer(float* weight, const float* grad, int outputs, const float* in, int inputs, int64_t stride, int steps) {
  constexpr int L = NV * kWidth, M = 4, K = kManyRegisters ? 4 : 2;
  for (int u = 0; u < outputs; u += M)
    with_constant<M>(outputs - u < M ? outputs - u : M, [&](auto m) {
      int k = 0;
      for (; k + K <= inputs; k += K)
        outer_tile<NV, m.value, K>(weight + int64_t(u) * inputs + k, inputs, grad + u * L, in + k * L, stride, steps);
      for (; k < inputs; ++k)
        outer_tile<NV, m.value, 1>(weight + int64_t(u) * inputs + k, inputs, grad + u * L, in + k * L, stride, steps);
    });
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
