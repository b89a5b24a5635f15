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

}  // namespace torchliquid
