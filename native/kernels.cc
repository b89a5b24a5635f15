// All kernels for one instruction set: compiled once for each, with -DTORCHLIQUID_ISA=<name> and its -m flags.
#include "cfc.h"
#include "ltc.h"
#include "scan.h"
#include "step.h"

namespace torchliquid::TORCHLIQUID_ISA {

#define TL_STRING_(x) #x
#define TL_STRING(x) TL_STRING_(x)

extern const InstructionSet instruction_set = {
    TL_STRING(TORCHLIQUID_ISA),
    {recurrence<1, LtcCell<1>, Ltc>(), recurrence<2, LtcCell<2>, Ltc>()},
    {recurrence<1, CfcCell<1>, Cfc>(), recurrence<2, CfcCell<2>, Cfc>()},
    step<StepLtc, Ltc>(),
    step<StepCfc, Cfc>(),
    step<StepGated, Gated>(),
    step<StepLinear, Linear>(),
};

}  // namespace torchliquid::TORCHLIQUID_ISA
