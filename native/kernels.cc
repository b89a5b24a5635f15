// All kernels for one instruction set: compiled once for each, with -DTORCHLIQUID_ISA=<name> and its -m flags.
#include "cfc.h"
#include "ctgru.h"
#include "ctrnn.h"
#include "lrcssm.h"
#include "ltc.h"
#include "ode_rnn.h"
#include "scan.h"
#include "state_space.h"
#include "step.h"

namespace torchliquid::TORCHLIQUID_ISA {

// The peak rate of one core, as a reference: independent multiply-adds in registers.
static int64_t multiply_adds(int64_t repeats) {
  constexpr int chains = kManyRegisters ? 24 : 12;
  V sum[chains], factor = broadcast(0.5f), term = broadcast(1.0f);
  for (int i = 0; i < chains; ++i) sum[i] = broadcast(float(i));
  for (int64_t r = 0; r < repeats; ++r)
#pragma GCC unroll 24
    for (int i = 0; i < chains; ++i) sum[i] = sum[i] * factor + term;
  V total = zero();
  for (int i = 0; i < chains; ++i) total += sum[i];
  return repeats * chains * kWidth + (total[0] < 0);
}

#define TL_STRING_(x) #x
#define TL_STRING(x) TL_STRING_(x)

extern const InstructionSet instruction_set = {
    TL_STRING(TORCHLIQUID_ISA),
    multiply_adds,
    {recurrence<1, LtcCell<1>, Ltc>(), recurrence<2, LtcCell<2>, Ltc>()},
    {recurrence<1, CfcCell<1>, Cfc>(), recurrence<2, CfcCell<2>, Cfc>()},
    {recurrence<1, CtrnnCell<1>, Ctrnn>(), recurrence<2, CtrnnCell<2>, Ctrnn>()},
    {recurrence<1, CtgruCell<1>, Ctgru>(), recurrence<2, CtgruCell<2>, Ctgru>()},
    {recurrence<1, OdeRnnCell<1>, OdeRnn>(), recurrence<2, OdeRnnCell<2>, OdeRnn>()},
    {lrcssm(), lrcssm()},
    state_space_forward,
    state_space_backward,
    step<StepLtc, Ltc>(),
    step<StepCfc, Cfc>(),
    step<StepGated, Gated>(),
    step<StepLinear, Linear>(),
};

}  // namespace torchliquid::TORCHLIQUID_ISA
