/* A model behind a pipe: so many readings and the time since the sample before come in, as floats of this machine, and
   its outputs go out. */

#include <stdio.h>

#include "under_test.h"

int main(void)
{
    static model_state state;
    static float given[MODEL_INPUTS + 1];
    float outputs[MODEL_OUTPUTS];
    model_init(&state);
    while (fread(given, sizeof *given, MODEL_INPUTS + 1, stdin) == MODEL_INPUTS + 1) {
        model_step(&state, given, given[MODEL_INPUTS], outputs);
        fwrite(outputs, sizeof *outputs, MODEL_OUTPUTS, stdout);
        fflush(stdout);
    }
    return 0;
}
