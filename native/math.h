// Elementary functions of a whole vector, within a few units in the last place.
//
// The polynomials are minimax fits made for this file (Lawson iteration in double precision; their errors are given).
// NaN stays NaN. Arguments are clipped to the range in which the result changes.
#pragma once

#include "vec.h"

namespace torchliquid::TORCHLIQUID_ISA {

constexpr float kLog2e = 1.44269504088896341f;

// y = n + f with n whole and f in [-1/2, 1/2]; `scale` is 2^n. For y in [-126, 126].
struct Split {
  V f, scale;
};
TL_INLINE Split split(V y) {
  // Adding 1.5 * 2^23 shifts the fraction out of the mantissa, so that its last bits are n. 127 is the exponent's bias.
  V magic = broadcast(12582912.0f + 127.0f);
  V shifted = y + magic;
  return {y - (shifted - magic), from_bits(bits(shifted) << 23)};
}

// 2^f for f in [-1/2, 1/2]; relative error 7.5e-8.
TL_INLINE V exp2_fraction(V f) {
  V p = 0.009675541892647743f + f * 0.0013276472454890609f;
  p = 0.05550713092088699f + f * p;
  p = 0.24022120237350464f + f * p;
  p = 0.6931469440460205f + f * p;
  return 1.0000001192092896f + f * p;
}

// (2^f - 1) / f for f in [-1/2, 1/2]; relative error 1.1e-8.
TL_INLINE V exp2_fraction_slope(V f) {
  V p = 0.0013390866806730628f + f * 0.0001546973508084193f;
  p = 0.009618030861020088f + f * p;
  p = 0.055503569543361664f + f * p;
  p = 0.24022650718688965f + f * p;
  return 0.6931471824645996f + f * p;
}

// e^x for x <= 88; below -87 it stays at the smallest normal number.
TL_INLINE V exp(V x) {
  // log2(e) is split in two parts, because the rounding of one product would grow with x.
  V y = at_most(at_least(x * kLog2e, -126.0f), 126.0f);
  V n = (y + 12582912.0f) - 12582912.0f;
  V f = x - n * 0.693145751953125f;
  f = (f - n * 1.42860682030941723212e-6f) * kLog2e;
  f = at_most(at_least(f, -0.5001f), 0.5001f);
  V scale = from_bits(bits(n + (12582912.0f + 127.0f)) << 23);
  return scale * (1.0f + f * exp2_fraction_slope(f));
}

// 2^y for y <= 126, and of 0 exactly 1; below -126 it stays at the smallest normal number.
TL_INLINE V power_of_two(V y) {
  Split s = split(at_most(at_least(y, -126.0f), 126.0f));
  return s.scale * (1.0f + s.f * exp2_fraction_slope(s.f));
}

// 1 / (1 + 2^y): the sigmoid of x is this at y = -x log2(e), a product that callers fold into their constants.
TL_INLINE V sigmoid_of_power(V y) {
  Split s = split(at_most(at_least(y, -126.0f), 126.0f));
  return reciprocal(1.0f + exp2_fraction(s.f) * s.scale);
}
TL_INLINE V sigmoid(V x) { return sigmoid_of_power(x * -kLog2e); }

// 2^y - 1, also accurate near zero; y is already split.
TL_INLINE V power_less_one(Split s) { return (s.scale - 1.0f) + s.scale * (s.f * exp2_fraction_slope(s.f)); }

// tanh x = (e^2x - 1) / (e^2x + 1), with e^2x - 1 kept exact near zero. `twice` is 2 x log2(e).
TL_INLINE V tanh_of_power(V twice) {
  V e = power_less_one(split(at_most(at_least(twice, -40.0f), 40.0f)));
  return e * reciprocal(e + 2.0f);
}
TL_INLINE V tanh(V x) { return tanh_of_power(x * (2.0f * kLog2e)); }

// The normal distribution up to x, for GELU; relative error below 1e-6 down to x = -9.
TL_INLINE V normal_below(V x) {
  V z = absolute(x) * 0.70710678118654752f;
  V t = 1.0f / (1.0f + 0.3f * z);
  V p = 0.46074965596199036f - t * 0.12490624934434891f;
  p = -0.45492467284202576f + t * p;
  p = 0.47333282232284546f + t * p;
  p = -0.03549348935484886f + t * p;
  p = 0.18541426956653595f + t * p;
  p = 0.15735092759132385f + t * p;
  p = 0.16917622089385986f + t * p;
  p = 0.16930049657821655f + t * p;
  V tail = 0.5f * exp(-(z * z)) * (t * p);
  return choose(x > 0.0f, 1.0f - tail, tail);
}

enum class Activation : int { lecun_tanh, tanh, relu, silu, gelu };

// Calls f with an activation as a compile-time constant.
template <class F>
TL_INLINE void with_activation(Activation activation, F f) {
  switch (activation) {
    case Activation::lecun_tanh: return f(std::integral_constant<Activation, Activation::lecun_tanh>{});
    case Activation::tanh: return f(std::integral_constant<Activation, Activation::tanh>{});
    case Activation::relu: return f(std::integral_constant<Activation, Activation::relu>{});
    case Activation::silu: return f(std::integral_constant<Activation, Activation::silu>{});
    case Activation::gelu: return f(std::integral_constant<Activation, Activation::gelu>{});
  }
}

// An activation, and its slope if `slope` is given.
template <Activation A, bool with_slope>
TL_INLINE V activate(V x, V* slope) {
  if constexpr (A == Activation::lecun_tanh || A == Activation::tanh) {
    constexpr float in = A == Activation::tanh ? 1.0f : 0.666f, out = A == Activation::tanh ? 1.0f : 1.7159f;
    V y = tanh_of_power(x * (in * 2.0f * kLog2e));
    if (with_slope) *slope = in * out * (1.0f - y * y);
    return out * y;
  } else if constexpr (A == Activation::relu) {
    // PyTorch's relu keeps a NaN.
    if (with_slope) *slope = choose(x > 0.0f, broadcast(1.0f), zero());
    return choose(x < 0.0f, zero(), x);
  } else if constexpr (A == Activation::silu) {
    V s = sigmoid(x);
    if (with_slope) *slope = s * (1.0f + x * (1.0f - s));
    return x * s;
  } else {
    V below = normal_below(x);
    if (with_slope) *slope = below + x * (0.3989422804014327f * exp(-0.5f * (x * x)));
    return x * below;
  }
}

}  // namespace torchliquid::TORCHLIQUID_ISA
