// One vector of floats, as wide as the instruction set that this file is compiled for.
//
// The kernels are compiled once for each instruction set, in separate namespaces. Otherwise the linker could keep only
// one copy of an inline function, such as the AVX-512 one. For the same reason nothing here calls the standard library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>

#if defined(__SSE__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#ifndef TORCHLIQUID_ISA
#error "compile with -DTORCHLIQUID_ISA=<name>"
#endif

#define TL_INLINE inline __attribute__((always_inline))

// For a loop whose iterations are independent.
#if defined(__clang__)
#define TL_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define TL_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace torchliquid::TORCHLIQUID_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
constexpr bool kManyRegisters = true;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
constexpr bool kManyRegisters = false;
#elif defined(__ARM_NEON)
constexpr int kWidth = 4;
constexpr bool kManyRegisters = true;
#else
constexpr int kWidth = 4;
constexpr bool kManyRegisters = false;
#endif

typedef float V __attribute__((vector_size(kWidth * 4)));
typedef int32_t I __attribute__((vector_size(kWidth * 4)));
typedef float VMemory __attribute__((vector_size(kWidth * 4), may_alias));
typedef float VUnaligned __attribute__((vector_size(kWidth * 4), may_alias, aligned(4)));

TL_INLINE V load(const float* p) { return *reinterpret_cast<const VMemory*>(p); }
TL_INLINE void store(float* p, V v) { *reinterpret_cast<VMemory*>(p) = v; }
TL_INLINE V load_unaligned(const float* p) { return *reinterpret_cast<const VUnaligned*>(p); }
TL_INLINE void store_unaligned(float* p, V v) { *reinterpret_cast<VUnaligned*>(p) = v; }

// Only the first `count` floats of a vector in memory, 0 < count <= kWidth.
TL_INLINE V load_first(const float* p, int count) {
#if defined(__AVX512F__)
  return (V)_mm512_maskz_loadu_ps(__mmask16(0xffff >> (16 - count)), p);
#else
  if (count == kWidth) return load_unaligned(p);
  V v{};
  for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
#endif
}
TL_INLINE void store_first(float* p, V v, int count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, __mmask16(0xffff >> (16 - count)), (__m512)v);
#else
  if (count == kWidth) return store_unaligned(p, v);
  for (int i = 0; i < count; ++i) p[i] = v[i];
#endif
}

template <size_t... i>
TL_INLINE V broadcast(float x, std::index_sequence<i...>) {
  return V{((void)i, x)...};
}
TL_INLINE V broadcast(float x) { return broadcast(x, std::make_index_sequence<kWidth>{}); }
TL_INLINE V zero() { return V{}; }

// The result is NaN if x is.
TL_INLINE V at_least(V x, float bound) {
#if defined(__AVX512F__)
  return (V)_mm512_max_ps((__m512)broadcast(bound), (__m512)x);
#elif defined(__AVX2__)
  return (V)_mm256_max_ps((__m256)broadcast(bound), (__m256)x);
#elif defined(__SSE__)
  return (V)_mm_max_ps((__m128)broadcast(bound), (__m128)x);
#else
  V b = broadcast(bound);
  return x < b ? b : x;
#endif
}
TL_INLINE V at_most(V x, float bound) {
#if defined(__AVX512F__)
  return (V)_mm512_min_ps((__m512)broadcast(bound), (__m512)x);
#elif defined(__AVX2__)
  return (V)_mm256_min_ps((__m256)broadcast(bound), (__m256)x);
#elif defined(__SSE__)
  return (V)_mm_min_ps((__m128)broadcast(bound), (__m128)x);
#else
  V b = broadcast(bound);
  return x > b ? b : x;
#endif
}

// 1 / x for normal x with a normal result, to about one unit in the last place. If the hardware has a good first
// approximation, two multiply-adds are several times faster than a division.
TL_INLINE V reciprocal(V x) {
#if defined(__AVX512F__)
  V r = (V)_mm512_rcp14_ps((__m512)x);
  return r + r * (1.0f - x * r);
#else
  return 1.0f / x;
#endif
}

TL_INLINE I bits(V x) { return (I)x; }
TL_INLINE V from_bits(I x) { return (V)x; }
TL_INLINE V absolute(V x) { return from_bits(bits(x) & 0x7fffffff); }
TL_INLINE V choose(I mask, V yes, V no) { return mask ? yes : no; }

// Sums across lanes, several vectors at a time. A vector is seen as pieces of P lanes, each a partial sum; a fold
// halves the pieces and puts those of a before those of b.
template <int P, int half, size_t... i>
TL_INLINE V pick(V a, V b, std::index_sequence<i...>) {
  return __builtin_shufflevector(a, b, (int(i) / (P / 2) * P + int(i) % (P / 2) + half * (P / 2))...);
}
template <int P>
TL_INLINE V fold(V a, V b) {
  using lanes = std::make_index_sequence<kWidth>;
  return pick<P, 0>(a, b, lanes{}) + pick<P, 1>(a, b, lanes{});
}

// sums[i] = sum of the lanes of x[i] for i < N, N a power of two. Uses x as workspace.
template <int N, int P = kWidth, int count = N>
TL_INLINE void lane_sums(V* x, float* sums) {
  if constexpr (P == 1) {
    for (int i = 0; i < count; ++i) sums[i] = x[i / kWidth][i % kWidth];
  } else if constexpr (N == 1) {
    x[0] = fold<P>(x[0], x[0]);
    lane_sums<1, P / 2, count>(x, sums);
  } else {
    for (int i = 0; i < N / 2; ++i) x[i] = fold<P>(x[2 * i], x[2 * i + 1]);
    lane_sums<N / 2, P / 2, count>(x, sums);
  }
}

// Transposes kWidth vectors in place: first the halves, then their halves, and so on.
template <int d, bool low, size_t... i>
TL_INLINE V exchange(V a, V b, std::index_sequence<i...>) {
  return __builtin_shufflevector(a, b, (int(i) & d ? kWidth + int(i) - (low ? d : 0) : int(i) + (low ? 0 : d))...);
}
template <int d = kWidth / 2>
TL_INLINE void transpose(V* x) {
  using lanes = std::make_index_sequence<kWidth>;
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i)
    if (!(i & d)) {
      V a = x[i], b = x[i + d];
      x[i] = exchange<d, true>(a, b, lanes{});
      x[i + d] = exchange<d, false>(a, b, lanes{});
    }
  if constexpr (d > 1) transpose<d / 2>(x);
}

}  // namespace torchliquid::TORCHLIQUID_ISA
