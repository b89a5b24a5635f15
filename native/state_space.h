// A diagonal state space with lanes over the channels. The backward pass recomputes the states.
#pragma once

#include <cstring>
#include <vector>

#include "kernels.h"

namespace torchliquid::TORCHLIQUID_ISA {

// The state of N x W complex numbers after one more sample, and its output.
inline void state_space_step(int64_t N, int64_t W, const float* fading, const float* gain, const float* read,
                             const float* __restrict u, const float* before, float* after, float* __restrict y) {
  const int64_t size = N * W;
  memset(y, 0, sizeof(float) * W);
  for (int64_t n = 0; n < N; ++n) {
    const float *f = fading + n * W, *g = gain + n * W, *r = read + n * W, *h = before + n * W;
    float* out = after + n * W;
    TL_INDEPENDENT
    for (int64_t w = 0; w < W; ++w) {
      const float real = f[w] * h[w] - f[size + w] * h[size + w] + g[w] * u[w];
      const float imaginary = f[w] * h[size + w] + f[size + w] * h[w] + g[size + w] * u[w];
      out[w] = real, out[size + w] = imaginary;
      y[w] += r[w] * real + r[size + w] * imaginary;
    }
  }
}

inline void state_space_forward(const StateSpace& p) {
  const int64_t N = p.states, W = p.width, size = 2 * N * W;
  memcpy(p.last, p.state, sizeof(float) * p.batch * size);
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t t = 0, at = b; t < p.time && b < p.sizes[t]; at += p.sizes[t++]) {
      float* h = p.last + b * size;
      state_space_step(N, W, p.fading + p.which[at] * size, p.gain, p.read, p.input + at * W, h, h, p.output + at * W);
    }
}

// g is the gradient of a state, from its output and from all later samples.
inline void state_space_backward(const StateSpace& p) {
  const int64_t N = p.states, W = p.width, half = N * W, size = 2 * half;
  std::vector<float> kept((p.time + 1) * size), said(W);
  memcpy(p.grad_state, p.grad_last, sizeof(float) * p.batch * size);
  for (int64_t b = 0; b < p.batch; ++b) {
    memcpy(kept.data(), p.state + b * size, sizeof(float) * size);
    int64_t t = 0, at = b;
    for (; t < p.time && b < p.sizes[t]; at += p.sizes[t++]) {
      float* before = kept.data() + t * size;
      state_space_step(N, W, p.fading + p.which[at] * size, p.gain, p.read, p.input + at * W, before, before + size,
                       said.data());
    }
    while (t-- > 0) {
      at -= p.sizes[t];
      const float *u = p.input + at * W, *to_y = p.grad_output + at * W;
      float* to_u = p.grad_input + at * W;
      memset(to_u, 0, sizeof(float) * W);
      for (int64_t n = 0; n < N; ++n) {
        const float *f = p.fading + p.which[at] * size + n * W, *gain = p.gain + n * W, *read = p.read + n * W;
        const float *before = kept.data() + t * size + n * W, *after = before + size;
        float *g = p.grad_state + b * size + n * W, *to_f = p.grad_fading + p.which[at] * size + n * W;
        float *to_gain = p.grad_gain + n * W, *to_read = p.grad_read + n * W;
        TL_INDEPENDENT
        for (int64_t w = 0; w < W; ++w) {
          const int64_t i = half + w;
          const float real = g[w] + read[w] * to_y[w], imaginary = g[i] + read[i] * to_y[w];
          to_read[w] += to_y[w] * after[w], to_read[i] += to_y[w] * after[i];
          to_gain[w] += real * u[w], to_gain[i] += imaginary * u[w];
          to_u[w] += real * gain[w] + imaginary * gain[i];
          to_f[w] += before[w] * real + before[i] * imaginary;
          to_f[i] += before[w] * imaginary - before[i] * real;
          g[w] = f[w] * real + f[i] * imaginary;
          g[i] = f[w] * imaginary - f[i] * real;
        }
      }
    }
  }
}

}  // namespace torchliquid::TORCHLIQUID_ISA
