#include "dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace torchliquid {

#define TL_DECLARE(name)                        \
  namespace name {                              \
  extern const InstructionSet instruction_set; \
  }
#if defined(__x86_64__)
TL_DECLARE(avx512)
TL_DECLARE(avx2)
#elif defined(__aarch64__)
TL_DECLARE(neon)
#endif
TL_DECLARE(plain)

#if defined(__x86_64__)
// The processor's features whose registers the operating system saves for each thread. Not every compiler has the
// library that __builtin_cpu_supports needs.
struct Processor {
  bool avx2 = false, avx512 = false;

  Processor() {
    unsigned a, b, c, d, kept;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return;
    const bool fma = c & bit_FMA;
    __asm__("xgetbv" : "=a"(kept), "=d"(d) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    const auto all = [](unsigned found, unsigned wanted) { return (found & wanted) == wanted; };
    avx2 = fma && all(kept, 0x06) && all(b, bit_AVX2);
    avx512 = avx2 && all(kept, 0xe6) && all(b, bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL);
  }
};
#endif

const std::vector<const InstructionSet*>& instruction_sets() {
  static const std::vector<const InstructionSet*> usable = [] {
    std::vector<const InstructionSet*> sets;
#if defined(__x86_64__)
    const Processor processor;
    if (processor.avx512) sets.push_back(&avx512::instruction_set);
    if (processor.avx2) sets.push_back(&avx2::instruction_set);
#elif defined(__aarch64__)
    sets.push_back(&neon::instruction_set);
#endif
    sets.push_back(&plain::instruction_set);
    return sets;
  }();
  return usable;
}

static const InstructionSet* chosen = nullptr;
const InstructionSet& instruction_set() { return chosen ? *chosen : *instruction_sets().front(); }
void use_instruction_set(const InstructionSet& set) { chosen = &set; }

int64_t parameter_count(const Ltc& p) {
  const int64_t units = p.sequence.units;
  return 4 * (int64_t(p.synapses.count) + p.sensory.count) + 3 * units + (p.sequence.memory ? 4 * units * units : 0);
}

int64_t parameter_count(const Cfc& p) {
  const int64_t units = p.sequence.units;
  int64_t count = p.sequence.memory ? 4 * units * units : 0;
  int64_t inputs = p.sequence.inputs;
  for (int l = 0; l < p.layers; ++l) {
    const int64_t own = p.layer_units[l];
    int64_t width = inputs + own;
    for (int i = 0; i < p.backbone_layers; ++i) {
      count += p.backbone_units[i] * (width + 1);
      width = p.backbone_units[i];
    }
    count += p.mode == Mode::pure ? own * (width + 1) + 2 * own : 4 * own * (width + 1);
    inputs = own;
  }
  return count;
}

int64_t parameter_count(const Ctrnn& p) {
  const int64_t units = p.sequence.units;
  return units * (p.sequence.inputs + units + 1 + (p.rate ? 1 : 0)) + (p.sequence.memory ? 4 * units * units : 0);
}

int64_t parameter_count(const Ctgru& p) {
  const int64_t units = p.sequence.units / p.scales;
  return 3 * units * (p.sequence.inputs + units + 1);
}

int64_t parameter_count(const OdeRnn& p) {
  const int64_t units = p.sequence.units;
  return 2 * units * (units + 1) + 3 * units * (p.sequence.inputs + units + 2);
}

int64_t parameter_count(const LrcSsm& p) { return int64_t(p.shift ? 8 : 7) * p.sequence.units; }

}  // namespace torchliquid
