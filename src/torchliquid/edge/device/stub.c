/* A model that does nothing. */

#include "under_test.h"

void model_init(model_state *state)
{
    state->faults = 0;
}

int model_step(model_state *state, const float inputs[MODEL_INPUTS], float elapsed, float outputs[MODEL_OUTPUTS])
{
    (void)elapsed;
    outputs[0] = inputs[0];
    return (int)state->faults;
}

#ifdef MODEL_LEVEL
void model_interval(
    const model_state *state, const float outputs[MODEL_OUTPUTS], float lower[MODEL_OUTPUTS], float upper[MODEL_OUTPUTS])
{
    (void)state;
    lower[0] = upper[0] = outputs[0];
}
#endif
#ifdef MODEL_RECENT

void model_truth(model_state *state, int output, float truth, float lower, float upper)
{
    (void)lower;
    (void)upper;
    state->half[output] = truth;
}
#endif
