/* The least program that steps a model: linked once with the model and once with a stub, the difference is the model. */

#include "under_test.h"

static model_state state;
static volatile float elapsed = 1.0f;
static float inputs[MODEL_INPUTS], outputs[MODEL_OUTPUTS];

int main(void)
{
    model_init(&state);
    for (;;)
        model_step(&state, inputs, elapsed, outputs);
}
