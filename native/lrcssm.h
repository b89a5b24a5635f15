// Liquid-resistance liquid-capacitance neurons (arXiv 2505.21717), which are not connected with each other. Lanes are
// units, and a block is one sequence. Backward recomputes each step from the stored states.
#pragma once

#include "kernels.h"
#include "math.h"
#include "rows.h"

namespace torchliquid::TORCHLIQUID_ISA {

// N vectors of units, interleaved so that their steps overlap in time.
template <int N>
struct LrcSsmUnits {
  const LrcSsm& p;
  const int first, count;  // of the units
  V w[N], k[N], mu[N], sigma[N], vleak[N], weight[N], bias[N], shift[N];

  LrcSsmUnits(const LrcSsm& problem, int from) : p(problem), first(from), count(problem.sequence.units - from) {
    const float* from_all[] = {p.w, p.k, p.mu, p.sigma, p.vleak, p.weight, p.bias, p.shift};
    V* to_all[] = {w, k, mu, sigma, vleak, weight, bias, shift};
    for (int i = 0; i < 8; ++i) get(to_all[i], from_all[i]);
  }

  int left(int n) const { return count - n * kWidth < kWidth ? count - n * kWidth : kWidth; }
  TL_INLINE void get(V* to, const float* row) const {
    for (int n = 0; n < N; ++n) to[n] = row ? load_first(row + first + n * kWidth, left(n)) : zero();
  }
  TL_INLINE void put(float* row, const V* from) const {
    for (int n = 0; n < N; ++n) store_first(row + first + n * kWidth, from[n], left(n));
  }

  // The values of one vector in a step.
  struct Terms {
    V y, rate, bounded, pull, low, high, elastance, length, left;
  };
  TL_INLINE Terms terms(int n, V h, V resistance, V driven, float span) const {
    Terms s;
    s.y = sigmoid(sigma[n] * (h - mu[n]));
    s.rate = sigmoid(at_least(resistance + w[n] * s.y, -30.0f));
    s.bounded = tanh(driven + k[n] * s.y);
    s.pull = vleak[n] * s.bounded - s.rate * h;
    V open = weight[n] * h + bias[n];
    s.high = sigmoid(open + shift[n]);
    s.low = p.shift ? sigmoid(open - shift[n]) : zero();
    s.elastance = s.high - s.low;
    s.length = s.elastance * span;
    s.left = broadcast(1);
    if (p.exponential) {
      V grown = power_less_one(split(at_most(at_least(s.length * s.rate * -kLog2e, -126.0f), 126.0f)));
      s.left = grown + 1.0f;
      s.length = -grown * reciprocal(s.rate);
    }
    return s;
  }

  TL_INLINE void forward(int64_t b, int64_t length) const {
    const Sequence& s = p.sequence;
    V h[N], f[N], g[N];
    get(h, s.state + b * s.units);
    for (int64_t t = 0; t < s.time; ++t) {
      const int64_t row = b * s.time + t;
      if (t < length) {
        if (s.reset && s.reset[row] > 0)
          for (int n = 0; n < N; ++n) h[n] = zero();
        get(f, s.input + row * 2 * s.units);
        get(g, s.input + row * 2 * s.units + s.units);
        for (int n = 0; n < N; ++n) {
          Terms step = terms(n, h[n], f[n], g[n], s.timespan[row]);
          h[n] += step.length * step.pull;
        }
      }
      put(s.states + row * s.units, h);
    }
  }

  TL_INLINE void backward(int64_t b, int64_t length, float* gradients) const {
    const Sequence& s = p.sequence;
    V to_h[N] = {}, to_w[N] = {}, to_k[N] = {}, to_mu[N] = {}, to_sigma[N] = {}, to_vleak[N] = {}, to_weight[N] = {};
    V to_bias[N] = {}, to_shift[N] = {}, h[N], f[N], g[N], given[N];
    for (int64_t t = s.time - 1; t >= 0; --t) {
      const int64_t row = b * s.time + t;
      get(given, s.grad_states + row * s.units);
      for (int n = 0; n < N; ++n) to_h[n] += given[n];
      if (t >= length) continue;
      const bool resets = s.reset && s.reset[row] > 0;
      get(h, resets ? nullptr : t ? s.states + (row - 1) * s.units : s.state + b * s.units);
      get(f, s.input + row * 2 * s.units);
      get(g, s.input + row * 2 * s.units + s.units);
      const float span = s.timespan[row];
      V to_span[1] = {};
      for (int n = 0; n < N; ++n) {
        Terms one = terms(n, h[n], f[n], g[n], span);
        V to_length = to_h[n] * one.pull, to_pull = to_h[n] * one.length;
        V to_rate = -to_pull * h[n], to_elastance = to_length * one.left * span;
        if (p.exponential) to_rate += to_length * (one.elastance * span * one.left - one.length) * reciprocal(one.rate);
        to_span[0] += to_length * one.left * one.elastance;
        to_h[n] -= to_pull * one.rate;
        V high = to_elastance * (one.high - one.high * one.high), low = to_elastance * (one.low - one.low * one.low);
        V to_open = high - low;
        to_shift[n] += high + low;
        to_weight[n] += to_open * h[n];
        to_bias[n] += to_open;
        to_h[n] += to_open * weight[n];
        V to_f = to_rate * (one.rate - one.rate * one.rate);
        to_vleak[n] += to_pull * one.bounded;
        V to_g = to_pull * vleak[n] * (1.0f - one.bounded * one.bounded);
        f[n] = to_f, g[n] = to_g;
        to_w[n] += to_f * one.y;
        to_k[n] += to_g * one.y;
        V to_y = (to_f * w[n] + to_g * k[n]) * (one.y - one.y * one.y);
        to_sigma[n] += to_y * (h[n] - mu[n]);
        to_mu[n] -= to_y * sigma[n];
        to_h[n] += to_y * sigma[n];
        if (resets) to_h[n] = zero();
      }
      if (s.grad_input) {
        put(s.grad_input + row * 2 * s.units, f);
        put(s.grad_input + row * 2 * s.units + s.units, g);
      }
      if (s.grad_timespan) {
        float sum[1];
        lane_sums<1>(to_span, sum);
        s.grad_timespan[row] += sum[0];
      }
    }
    put(s.grad_state + b * s.units, to_h);
    const V* found[] = {to_w, to_k, to_mu, to_sigma, to_vleak, to_weight, to_bias, to_shift};
    for (int i = 0; i < (p.shift ? 8 : 7); ++i) {
      V sum[N];
      get(sum, gradients + int64_t(i) * s.units);
      for (int n = 0; n < N; ++n) sum[n] += found[i][n];
      put(gradients + int64_t(i) * s.units, sum);
    }
  }
};

// Calls f with all units of a sequence, and its length.
template <class F>
inline void each_units(const LrcSsm& p, int64_t b, F f) {
  const Sequence& s = p.sequence;
  const int64_t given = s.lengths ? s.lengths[b] : s.time, length = given < s.time ? given : s.time;
  int unit = 0;
  for (; s.units - unit > kWidth; unit += 2 * kWidth) f(LrcSsmUnits<2>(p, unit), length);
  if (unit < s.units) f(LrcSsmUnits<1>(p, unit), length);
}

// Without a plan and without scratch.
constexpr Recurrence<LrcSsm> lrcssm() {
  return {1,
          [](const LrcSsm& p) -> int64_t { return int64_t(p.shift ? 8 : 7) * p.sequence.units; },
          [](const LrcSsm&) -> size_t { return 0; },
          [](const LrcSsm&, bool) -> size_t { return 0; },
          [](const LrcSsm&, float*, bool) {},
          [](const LrcSsm& p, const float*, float*, int block) {
            each_units(p, block, [&](const auto& units, int64_t length) { units.forward(block, length); });
          },
          [](const LrcSsm& p, const float*, float*, int block, float* gradients) {
            each_units(p, block, [&](const auto& units, int64_t length) { units.backward(block, length, gradients); });
          }};
}

}  // namespace torchliquid::TORCHLIQUID_ISA
